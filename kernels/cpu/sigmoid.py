"""Logistic sigmoid on the CPU: `epcore.ops.sigmoid` is the definition."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.loops import elementwise
from epcore.kernels.cpu.simd import Block, sigmoid


@elementwise
def _activate(x: Block, _: float) -> Block:
    return sigmoid(x)


@elementwise
def _differentiate(dy: Block, y: Block, _: float) -> Block:
    return dy * y * (1.0 - y)


def forward(x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("sigmoid", x=x)
    y = empty(x.shape)
    _activate(x, np.float32(0), y)
    return y, (y,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray]) -> tuple[np.ndarray]:
    (y,) = saved
    check_gradient("sigmoid", dy, y.shape)
    dx = empty(y.shape)
    _differentiate(dy, y, np.float32(0), dx)
    return (dx,)
