"""`python -m epcore`."""

from epcore.cli import program

program()
