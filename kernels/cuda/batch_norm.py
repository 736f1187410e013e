"""Batch normalisation on the GPU; equations and contract: `epcore.ops.batch_norm`."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda import launch as grids
from epcore.kernels.cuda.launch import check, check_axes, check_shape, empty, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.batch_norm import EPSILON, output_shape

SOURCE = Source(
    "batch_norm",
    (
        "batch_norm_sums<{T},{V}>",
        "batch_norm_statistics<{T}>",
        "batch_norm_normalise<{T},{V}>",
        "batch_norm_gradient_sums<{T},{V}>",
        "batch_norm_gradient_merge<{T}>",
        "batch_norm_gradient<{T},{V},true>",
        "batch_norm_gradient<{T},{V},false>",
    ),
)


def forward(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_variance: Array,
    *,
    epsilon: float = EPSILON,
    training: bool = False,
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    T = check("batch_norm", x=x, gamma=gamma, beta=beta, running_mean=running_mean, running_variance=running_variance)
    check_axes("batch_norm", "x", x)
    output_shape(x.shape, gamma.shape, beta.shape, running_mean.shape, running_variance.shape)
    C = x.shape[3]
    rows = x.size // C
    y = empty(x.shape, x)
    mean, variance = running_mean, running_variance
    if training:
        mean, variance = empty((C,), x), empty((C,), x)
        V = width(C, x)
        layout, per_slice = grids.slices(rows, C, V)
        count = layout[0][1]
        partial = empty((count, 2, C), x, np.float64)
        launch(SOURCE, T, f"batch_norm_sums<{T},{V}>", layout, x, partial, rows, per_slice, C)
        launch(SOURCE, T, f"batch_norm_statistics<{T}>", grids.merge(C), partial, x, mean, variance, rows, count, C)
    V = width(C, x, gamma, beta, mean, y)
    launch(
        SOURCE, T, f"batch_norm_normalise<{T},{V}>", grids.rows(rows, C, V),
        x, gamma, beta, mean, variance, y, x.dtype.type(epsilon), rows, C,
    )  # fmt: skip
    return y, (x, gamma, mean, variance)


def backward(
    dy: Array, saved: tuple[Array, Array, Array, Array], *, epsilon: float = EPSILON, training: bool = False
) -> tuple[Array, Array, Array, None, None]:
    x, gamma, mean, variance = saved
    T = check("batch_norm", dy=dy, x=x, gamma=gamma, mean=mean, variance=variance)
    check_shape("batch_norm", "dy", dy, x.shape)
    C = x.shape[3]
    rows = x.size // C
    dx, dgamma, dbeta = empty(x.shape, x), empty((C,), x), empty((C,), x)
    V = width(C, dy, x, mean, gamma, dx)
    layout, per_slice = grids.slices(rows, C, V)
    count = layout[0][1]
    partial = empty((count, 2, C), x, np.float64)
    eps = x.dtype.type(epsilon)
    launch(SOURCE, T, f"batch_norm_gradient_sums<{T},{V}>", layout, dy, x, mean, variance, partial, eps, rows, per_slice, C)
    launch(SOURCE, T, f"batch_norm_gradient_merge<{T}>", grids.merge(C), partial, dbeta, dgamma, count, C)
    launch(
        SOURCE, T, f"batch_norm_gradient<{T},{V},{str(training).lower()}>", grids.rows(rows, C, V),
        dy, x, gamma, mean, variance, dbeta, dgamma, dx, eps, rows, C,
    )  # fmt: skip
    return dx, dgamma, dbeta, None, None
