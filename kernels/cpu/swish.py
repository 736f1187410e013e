"""Swish on the CPU: `epcore.ops.swish` is the definition. E-swish is the same with its factor (`eswish`)."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.loops import elementwise
from epcore.kernels.cpu.simd import Block, sigmoid


@elementwise
def activate(x: Block, beta: float) -> Block:
    """beta * x * sigmoid(x)."""
    return beta * x * sigmoid(x)


@elementwise
def differentiate(dy: Block, x: Block, beta: float) -> Block:
    """beta * dy * s * (1 + x * (1 - s)), s = sigmoid(x)."""
    s = sigmoid(x)
    return beta * dy * s * (1.0 + x * (1.0 - s))


def forward(x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("swish", x=x)
    y = empty(x.shape)
    activate(x, np.float32(1), y)
    return y, (x,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray]) -> tuple[np.ndarray]:
    (x,) = saved
    check_gradient("swish", dy, x.shape)
    dx = empty(x.shape)
    differentiate(dy, x, np.float32(1), dx)
    return (dx,)
