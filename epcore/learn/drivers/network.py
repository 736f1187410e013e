"""A student's network, run by the student's operators: what it gives, and every operator that ran on the way."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np


class Forward:
    """`call` of a network: runs forward, remembers the results. trace: (operator, output), in order; kept: what was saved."""

    def __init__(self, remember: bool) -> None:
        self.remember = remember
        self.trace: list[tuple[str, np.ndarray]] = []
        self.kept: list[Any] = []

    def __call__(self, name: str, *arrays: Any, **attributes: Any) -> Any:
        y, saved = import_module(f"ops.{name}").forward(*arrays, **attributes)
        if self.remember:
            self.trace.append((name, y))
        self.kept.append(saved)
        return y


def run(module: ModuleType, function: str, *arguments: Any, trace: bool = True, **keywords: Any) -> Any:
    """(what the function gives, the trace). arguments: of the function, after `call`."""
    call = Forward(trace)
    output = getattr(module, function)(call, *arguments, **keywords)
    return output, call.trace
