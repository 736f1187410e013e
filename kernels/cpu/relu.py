"""Rectified linear unit on the CPU: `epcore.ops.relu` is the definition."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.loops import elementwise
from epcore.kernels.cpu.simd import Block, splat, where_greater


@elementwise
def _activate(x: Block, maximum: float) -> Block:
    zero, limit = splat(0.0, 1), splat(maximum, 1)
    positive = where_greater(zero, x, zero, x)  # in this order NaN stays NaN
    return where_greater(positive, limit, limit, positive)


@elementwise
def _differentiate(dy: Block, y: Block, maximum: float) -> Block:
    zero, limit = splat(0.0, 1), splat(maximum, 1)
    return where_greater(y, zero, where_greater(limit, y, dy, zero), zero)


def _limit(maximum: float | None) -> np.float32:
    return np.float32(np.inf if maximum is None else maximum)


def forward(x: np.ndarray, *, maximum: float | None = None) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("relu", x=x)
    y = empty(x.shape)
    _activate(x, _limit(maximum), y)
    return y, (y,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray], *, maximum: float | None = None) -> tuple[np.ndarray]:
    (y,) = saved
    check_gradient("relu", dy, y.shape)
    dx = empty(y.shape)
    _differentiate(dy, y, _limit(maximum), dx)
    return (dx,)
