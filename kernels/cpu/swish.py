"""Swish on the CPU: `epcore.ops.swish` is the definition. E-swish is the same loop with its factor (`eswish`)."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import CHUNK, kernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, sigmoid, store_partial


@kernel
def activate(x: np.ndarray, beta: float, y: np.ndarray) -> None:
    """y = beta * x * sigmoid(x), flat arrays."""
    for task in prange((x.size + CHUNK - 1) // CHUNK):
        end = min((task + 1) * CHUNK, x.size)
        for i in range(task * CHUNK, end, LANES):
            v = load_partial(x, i, end - i)
            store_partial(y, i, beta * v * sigmoid(v), end - i)


@kernel
def differentiate(dy: np.ndarray, x: np.ndarray, beta: float, dx: np.ndarray) -> None:
    """dx = beta * dy * s * (1 + x * (1 - s)), s = sigmoid(x), flat arrays."""
    for task in prange((x.size + CHUNK - 1) // CHUNK):
        end = min((task + 1) * CHUNK, x.size)
        for i in range(task * CHUNK, end, LANES):
            v = load_partial(x, i, end - i)
            s = sigmoid(v)
            store_partial(dx, i, beta * load_partial(dy, i, end - i) * s * (1.0 + v * (1.0 - s)), end - i)


def forward(x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("swish", x=x)
    y = empty(x.shape)
    activate(x.ravel(), np.float32(1), y.ravel())
    return y, (x,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray]) -> tuple[np.ndarray]:
    (x,) = saved
    check_gradient("swish", dy, x.shape)
    dx = empty(x.shape)
    differentiate(dy.ravel(), x.ravel(), np.float32(1), dx.ravel())
    return (dx,)
