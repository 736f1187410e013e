"""A student's compiled kernel: its values, its time, and what this machine can do on one thread."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

_SECONDS, _LEAST = 0.3, 5  # of measuring one thing


def run(module: ModuleType, function: str, *arguments: Any) -> Any:
    """One of: values, time, machine."""
    functions: dict[str, Callable[..., Any]] = {"values": values, "time": time, "machine": machine}
    return functions[function](module, *arguments)


def values(module: ModuleType, *arguments: Any) -> Any:
    """(what forward gives, whether something in the file has been compiled)."""
    y = module.forward(*arguments)
    compiled = any(getattr(each, "nopython_signatures", None) for each in vars(module).values())
    return y, compiled


def time(module: ModuleType, *arguments: Any) -> float:
    """Seconds of one call."""
    return best(lambda: module.forward(*arguments))


def machine(module: ModuleType, moved: int) -> tuple[float, float]:
    """(seconds that copying takes, where so many bytes are read and written together; seconds a multiply-add of a product)."""
    a = np.ones(moved // 2, np.uint8)
    b = np.empty_like(a)
    w = np.ones((512, 512), np.float32)
    y = np.empty_like(w)
    return best(lambda: np.copyto(b, a)), best(lambda: np.matmul(w, w, out=y)) / 512**3


def best(work: Callable[[], object]) -> float:
    """The shortest of several times, in seconds."""
    work()
    times: list[float] = []
    begin = perf_counter()
    while len(times) < _LEAST or perf_counter() - begin < _SECONDS:
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)
