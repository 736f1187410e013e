"""Parametric rectified linear unit on the CPU: `epcore.ops.prelu` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import kernel
from epcore.kernels.cpu.loops import by_slot
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.reduction import gather, parts_of, period, spread
from epcore.kernels.cpu.simd import Block, load, load_partial, splat, store_partial, where_greater
from epcore.ops.prelu import output_shape


@by_slot
def _activate(x: Block, alpha: np.ndarray, j: int, slots: int) -> Block:
    return where_greater(x, splat(0.0, 1), x, x * load(alpha, j))


@kernel
def _differentiate(dy: np.ndarray, x: np.ndarray, alpha: np.ndarray, dx: np.ndarray, partial: np.ndarray) -> None:
    """dx, and partial (P, period) = sums of dy * min(x, 0) by slot over the P-th part; dy, x and dx flat."""
    parts, slots = partial.shape
    periods = (x.size + slots - 1) // slots
    for part in prange(parts):
        zero = splat(0.0, 1)
        sums = np.zeros(slots)
        for p in range(part * periods // parts, (part + 1) * periods // parts):
            for j in range(0, min(slots, x.size - p * slots), LANES):
                i = p * slots + j
                v, g = load_partial(x, i, x.size - i), load_partial(dy, i, x.size - i)
                store_partial(dx, i, where_greater(v, zero, g, g * load(alpha, j)), x.size - i)
            row, gradient = x[p * slots : (p + 1) * slots], dy[p * slots : (p + 1) * slots]
            for j in range(row.size):
                sums[j] += np.float64(min(row[j], np.float32(0))) * gradient[j]
        partial[part] = sums


def forward(x: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """x (N,H,W,C), alpha (C,) float32 -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("prelu", x=x, alpha=alpha)
    output_shape(x.shape, alpha.shape)
    y = empty(x.shape)
    _activate(x.reshape(1, -1), spread(alpha[None]), y.reshape(1, -1))
    return y, (x, alpha)


def backward(dy: np.ndarray, saved: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x, alpha = saved
    check_gradient("prelu", dy, x.shape)
    C = alpha.size
    dx = empty(x.shape)
    partial = np.empty((parts_of(x.size, C), period(C)))
    _differentiate(dy.ravel(), x.ravel(), spread(alpha[None])[0, 0], dx.ravel(), partial)
    return dx, gather(partial.sum(axis=0), C).astype(np.float32)
