"""Sum of two tensors on the CPU: `epcore.ops.add` is the definition."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.loops import elementwise
from epcore.kernels.cpu.simd import Block
from epcore.ops.add import output_shape


@elementwise
def _add(a: Block, b: Block, _: float) -> Block:
    return a + b


def forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, tuple[()]]:
    """a, b float32 of the same shape -> y as both. Raises TypeError or ValueError for what the kernels refuse."""
    check("add", a=a, b=b)
    y = empty(output_shape(a.shape, b.shape))
    _add(a, b, np.float32(0), y)
    return y, ()


def backward(dy: np.ndarray, saved: tuple[()]) -> tuple[np.ndarray, np.ndarray]:
    check_gradient("add", dy, dy.shape)
    return dy, dy
