"""How the CPU kernels are compiled: `@kernel` compiles at the first call and keeps the machine code (see cache.py), so a new
process only loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit

from epcore.kernels.cpu import lazy_blas  # noqa: F401  before anything is compiled or loaded
from epcore.kernels.cpu.cache import cached
from epcore.kernels.cpu.launch import ParallelKernel

CHUNK = 8192  # elements a task of an elementwise kernel takes; a multiple of every LANES


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    dispatcher: Callable[..., Any] = cached(function, error_model="numpy", **options)
    return dispatcher


def kernel(function: Callable[..., Any], *, sources: Iterable[Path] = ()) -> ParallelKernel:
    """Compile a function whose `prange` loops run on Numba's threads, `get_threads()` of them. Compiled code cannot call it.

    sources: files whose code it is given to hold, see `cache.cached`.
    """
    return ParallelKernel(function, partial(_compile, sources=tuple(sources)))


def serial_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that runs on the calling thread only."""
    return _compile(function)


def released_kernel(*, sources: Iterable[Path] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function that lets other Python threads run meanwhile: the plans bring their own threads. sources: as above."""
    return partial(_compile, nogil=True, sources=tuple(sources))


inlined = njit(error_model="numpy", forceinline=True)  # a part of kernels, cached with them
