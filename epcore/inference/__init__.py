"""Fast inference: `compile` turns a network into a plan (fuse -> bands -> layout -> encode -> executor)."""

from epcore.inference.compile import compile
from epcore.inference.plan import Plan, Profile

__all__ = ["Plan", "Profile", "compile"]
