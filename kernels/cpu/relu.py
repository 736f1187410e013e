"""Rectified linear unit on the CPU: `epcore.ops.relu` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import CHUNK, kernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, splat, store_partial, where_greater


@kernel
def _activate(x: np.ndarray, maximum: float, y: np.ndarray) -> None:
    for task in prange((x.size + CHUNK - 1) // CHUNK):
        end = min((task + 1) * CHUNK, x.size)
        zero, limit = splat(0.0, 1), splat(maximum, 1)
        for i in range(task * CHUNK, end, LANES):
            v = load_partial(x, i, end - i)
            v = where_greater(zero, v, zero, v)  # in this order NaN stays NaN
            store_partial(y, i, where_greater(v, limit, limit, v), end - i)


@kernel
def _differentiate(dy: np.ndarray, y: np.ndarray, maximum: float, dx: np.ndarray) -> None:
    for task in prange((y.size + CHUNK - 1) // CHUNK):
        end = min((task + 1) * CHUNK, y.size)
        zero, limit = splat(0.0, 1), splat(maximum, 1)
        for i in range(task * CHUNK, end, LANES):
            v = load_partial(y, i, end - i)
            g = where_greater(limit, v, load_partial(dy, i, end - i), zero)
            store_partial(dx, i, where_greater(v, zero, g, zero), end - i)


def _limit(maximum: float | None) -> np.float32:
    return np.float32(np.inf if maximum is None else maximum)


def forward(x: np.ndarray, *, maximum: float | None = None) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("relu", x=x)
    y = empty(x.shape)
    _activate(x.ravel(), _limit(maximum), y.ravel())
    return y, (y,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray], *, maximum: float | None = None) -> tuple[np.ndarray]:
    (y,) = saved
    check_gradient("relu", dy, y.shape)
    dx = empty(y.shape)
    _differentiate(dy.ravel(), y.ravel(), _limit(maximum), dx.ravel())
    return (dx,)
