"""Parametric ReLU on the GPU; equation and contract: `epcore.ops.prelu`."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda import launch as grids
from epcore.kernels.cuda.launch import check, check_shape, empty, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.prelu import output_shape

SOURCE = Source("prelu", ("prelu_forward<{T},{V}>", "prelu_backward<{T},{V}>", "prelu_merge<{T}>"))


def forward(x: Array, alpha: Array) -> tuple[Array, tuple[Array, Array]]:
    T = check("prelu", x=x, alpha=alpha)
    y = empty(output_shape(x.shape, alpha.shape), x)
    C = x.shape[-1]
    V = width(C, x, alpha, y)
    launch(SOURCE, T, f"prelu_forward<{T},{V}>", grids.rows(x.size // C, C, V), x, alpha, y, x.size // C, C)
    return y, (x, alpha)


def backward(dy: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    x, alpha = saved
    T = check("prelu", dy=dy, x=x, alpha=alpha)
    check_shape("prelu", "dy", dy, x.shape)
    C = x.shape[-1]
    rows = x.size // C
    dx, dalpha = empty(x.shape, x), empty((C,), x)
    V = width(C, dy, x, alpha, dx)
    layout, per_slice = grids.slices(rows, C, V)
    count = layout[0][1]
    partial = empty((count, C), x, np.float64)
    launch(SOURCE, T, f"prelu_backward<{T},{V}>", layout, dy, x, alpha, dx, partial, rows, per_slice, C)
    launch(SOURCE, T, f"prelu_merge<{T}>", grids.merge(C), partial, dalpha, count, C)
    return dx, dalpha
