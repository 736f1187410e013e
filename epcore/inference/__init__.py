"""Fast inference: `compile` turns a network into a plan (fold -> layout -> program -> executor)."""

from epcore.inference.plan import Plan, Profile, compile

__all__ = ["Plan", "Profile", "compile"]
