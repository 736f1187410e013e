"""Fast inference: `engine.engine` chooses what computes; `compile` makes a plan (fold -> layout -> program -> executor)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epcore.inference.plan import Plan, Profile, compile

__all__ = ["Plan", "Profile", "compile"]


def __getattr__(name: str) -> Any:
    """Plans are imported at first use: they take Numba, which `engine` needs only where it chooses one."""
    if name in __all__:
        return getattr(import_module("epcore.inference.plan"), name)
    raise AttributeError(f"module 'epcore.inference' has no attribute {name!r}")
