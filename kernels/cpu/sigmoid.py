"""Logistic sigmoid on the CPU: `epcore.ops.sigmoid` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import CHUNK, kernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, sigmoid, store_partial


@kernel
def _activate(x: np.ndarray, y: np.ndarray) -> None:
    for task in prange((x.size + CHUNK - 1) // CHUNK):
        end = min((task + 1) * CHUNK, x.size)
        for i in range(task * CHUNK, end, LANES):
            store_partial(y, i, sigmoid(load_partial(x, i, end - i)), end - i)


@kernel
def _differentiate(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    for task in prange((y.size + CHUNK - 1) // CHUNK):
        end = min((task + 1) * CHUNK, y.size)
        for i in range(task * CHUNK, end, LANES):
            s = load_partial(y, i, end - i)
            store_partial(dx, i, load_partial(dy, i, end - i) * s * (1.0 - s), end - i)


def forward(x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("sigmoid", x=x)
    y = empty(x.shape)
    _activate(x.ravel(), y.ravel())
    return y, (y,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray]) -> tuple[np.ndarray]:
    (y,) = saved
    check_gradient("sigmoid", dy, y.shape)
    dx = empty(y.shape)
    _differentiate(dy.ravel(), y.ravel(), dx.ravel())
    return (dx,)
