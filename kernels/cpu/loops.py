"""The loops of kernels that compute element by element: what stands in an operator's file is the equation alone.

    @elementwise
    def activate(x, beta):                # vectors of the arrays, then one constant
        return beta * x * sigmoid(x)

    activate(x, np.float32(1), y)         # arrays of one size, the constant, the result

`by_slot` is the same where constants differ from channel to channel (see reduction.py for slots), `by_image` where they differ
from image to image. All are compiled once for each function, in parallel, and loops are cut by shape alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit, prange

from epcore.kernels.cpu.jit import CHUNK, kernel
from epcore.kernels.cpu.launch import ParallelKernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, store_partial

RUN = 32  # periods of slots a task takes


def elementwise(function: Callable[..., Any]) -> Callable[..., None]:
    """Compile function(vectors of one, two or three arrays, constant) -> vector into a kernel of (arrays, constant, y).

    Arrays are float32, of one size, C-contiguous and of any shape; nothing checks that.
    """
    arrays = len(inspect.signature(function).parameters) - 1
    run = _compiled(_ELEMENTWISE[arrays], function)

    def call(*arguments: Any) -> None:
        *inputs, constant, y = arguments
        run(*(array.reshape(-1) for array in inputs), constant, y.reshape(-1))

    call.kernel = run  # type: ignore[attr-defined]  # for benchmarks and tests of the cache
    return call


def by_slot(function: Callable[..., Any]) -> ParallelKernel:
    """Compile function(vectors of one or two arrays, constants, j, slots) -> vector into a kernel of (arrays, constants, y).

    arrays and y (N,size), constants (N,K,slots) float32: constant k of the vector is load(constants, k * slots + j).
    """
    return _compiled(_BY_SLOT[len(inspect.signature(function).parameters) - 3], function)


def by_image(function: Callable[..., Any]) -> ParallelKernel:
    """Compile function(vector, constant) -> vector into a kernel of (a, constants, y): a and y (N,size), constants (N,)."""
    return _compiled(_one_by_image, function)


def _compiled(loop: Callable[[Any], Callable[..., None]], function: Callable[..., Any]) -> ParallelKernel:
    """The loop around a function, under the function's name; its machine code depends on both files."""
    run = loop(njit(error_model="numpy", forceinline=True)(function))
    assert isinstance(run, FunctionType)
    run.__module__, run.__qualname__ = function.__module__, function.__qualname__
    run.__doc__ = function.__doc__
    return kernel(run, sources=[Path(inspect.getfile(function))])


def _one(function: Any) -> Callable[..., None]:
    def run(a: np.ndarray, constant: float, y: np.ndarray) -> None:
        for task in prange((y.size + CHUNK - 1) // CHUNK):
            end = min((task + 1) * CHUNK, y.size)
            for i in range(task * CHUNK, end, LANES):
                rest = end - i
                store_partial(y, i, function(load_partial(a, i, rest), constant), rest)

    return run


def _two(function: Any) -> Callable[..., None]:
    def run(a: np.ndarray, b: np.ndarray, constant: float, y: np.ndarray) -> None:
        for task in prange((y.size + CHUNK - 1) // CHUNK):
            end = min((task + 1) * CHUNK, y.size)
            for i in range(task * CHUNK, end, LANES):
                rest = end - i
                store_partial(y, i, function(load_partial(a, i, rest), load_partial(b, i, rest), constant), rest)

    return run


def _three(function: Any) -> Callable[..., None]:
    def run(a: np.ndarray, b: np.ndarray, c: np.ndarray, constant: float, y: np.ndarray) -> None:
        for task in prange((y.size + CHUNK - 1) // CHUNK):
            end = min((task + 1) * CHUNK, y.size)
            for i in range(task * CHUNK, end, LANES):
                rest = end - i
                values = load_partial(a, i, rest), load_partial(b, i, rest), load_partial(c, i, rest)
                store_partial(y, i, function(values[0], values[1], values[2], constant), rest)

    return run


def _one_by_slot(function: Any) -> Callable[..., None]:
    def run(a: np.ndarray, constants: np.ndarray, y: np.ndarray) -> None:
        N, size = a.shape
        count, slots = constants.shape[1], constants.shape[2]
        periods = (size + slots - 1) // slots
        tasks = (periods + RUN - 1) // RUN
        for task in prange(N * tasks):
            n = task // tasks
            first = (task - n * tasks) * RUN
            for p in range(first, min(first + RUN, periods)):
                for j in range(0, min(slots, size - p * slots), LANES):
                    i, rest = n * size + p * slots + j, size - p * slots - j
                    store_partial(y, i, function(load_partial(a, i, rest), constants, n * count * slots + j, slots), rest)

    return run


def _two_by_slot(function: Any) -> Callable[..., None]:
    def run(a: np.ndarray, b: np.ndarray, constants: np.ndarray, y: np.ndarray) -> None:
        N, size = a.shape
        count, slots = constants.shape[1], constants.shape[2]
        periods = (size + slots - 1) // slots
        tasks = (periods + RUN - 1) // RUN
        for task in prange(N * tasks):
            n = task // tasks
            first = (task - n * tasks) * RUN
            for p in range(first, min(first + RUN, periods)):
                for j in range(0, min(slots, size - p * slots), LANES):
                    i, rest = n * size + p * slots + j, size - p * slots - j
                    values = load_partial(a, i, rest), load_partial(b, i, rest)
                    at = n * count * slots + j
                    store_partial(y, i, function(values[0], values[1], constants, at, slots), rest)

    return run


def _one_by_image(function: Any) -> Callable[..., None]:
    def run(a: np.ndarray, constants: np.ndarray, y: np.ndarray) -> None:
        N, size = a.shape
        tasks = (size + CHUNK - 1) // CHUNK
        for task in prange(N * tasks):
            n = task // tasks
            first = (task - n * tasks) * CHUNK
            for i in range(first, min(first + CHUNK, size), LANES):
                rest = size - i
                store_partial(y, n * size + i, function(load_partial(a, n * size + i, rest), constants[n]), rest)

    return run


_ELEMENTWISE = {1: _one, 2: _two, 3: _three}
_BY_SLOT = {1: _one_by_slot, 2: _two_by_slot}
