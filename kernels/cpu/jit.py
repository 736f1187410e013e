"""How the CPU kernels are compiled: `@kernel` compiles at the first call and keeps the machine code (see cache.py), so a new
process only loads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from epcore.kernels.cpu.cache import cached
from epcore.kernels.cpu.launch import ParallelKernel

CHUNK = 8192  # elements a task of an elementwise kernel takes; a multiple of every LANES


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    dispatcher: Callable[..., Any] = cached(function, error_model="numpy", **options)
    return dispatcher


def kernel(function: Callable[..., Any]) -> ParallelKernel:
    """Compile a function whose `prange` loops run on Numba's threads, `get_threads()` of them. Compiled code cannot call it."""
    return ParallelKernel(function, _compile)


def serial_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that runs on the calling thread only."""
    return _compile(function)


def released_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that lets other Python threads run meanwhile: the plans bring their own threads."""
    return _compile(function, nogil=True)


inlined = njit(error_model="numpy", forceinline=True)  # a part of kernels, cached with them
