"""The version of epcore, which checkpoints, reports and golden vectors name."""

VERSION = "0.1.0"
