"""Fast inference: `engine.engine` chooses what computes, `compile.compile` makes a plan (fuse, bands, layout, encode)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epcore.inference.plan import Plan, Profile

__all__ = ["Plan", "Profile"]


def __getattr__(name: str) -> Any:
    """Plans are imported at first use: `engine` needs them only where it chooses one."""
    if name in __all__:
        return getattr(import_module("epcore.inference.plan"), name)
    raise AttributeError(f"module 'epcore.inference' has no attribute {name!r}")
