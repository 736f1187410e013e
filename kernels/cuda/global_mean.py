"""Mean over all pixels on the GPU; equation and contract: `epcore.ops.global_mean`."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda import launch as grids
from epcore.kernels.cuda.launch import check, check_axes, check_shape, empty, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.shapes import Shape

SOURCE = Source("global_mean", ("global_mean_sums<{T},{V}>", "global_mean_merge<{T}>", "global_mean_backward<{T},{V}>"))


def forward(x: Array) -> tuple[Array, tuple[Shape]]:
    T = check("global_mean", x=x)
    check_axes("global_mean", "x", x)
    N, H, W, C = x.shape
    y = empty((N, 1, 1, C), x)
    V = width(C, x)
    layout, per_slice = grids.slices(H * W, C, V, samples=N)
    count = layout[0][1]
    partial = empty((N, count, C), x, np.float64)
    launch(SOURCE, T, f"global_mean_sums<{T},{V}>", layout, x, partial, H * W, per_slice, C)
    launch(SOURCE, T, f"global_mean_merge<{T}>", grids.merge(C, N), partial, y, H * W, count, C)
    return y, (x.shape,)


def backward(dy: Array, saved: tuple[Shape]) -> tuple[Array]:
    (shape,) = saved
    T = check("global_mean", dy=dy)
    N, H, W, C = shape
    check_shape("global_mean", "dy", dy, (N, 1, 1, C))
    dx = empty(shape, dy)
    V = width(C, dy, dx)
    launch(SOURCE, T, f"global_mean_backward<{T},{V}>", grids.rows(H * W, C, V, samples=N), dy, dx, H * W, C)
    return (dx,)
