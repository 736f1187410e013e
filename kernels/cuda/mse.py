"""Squared error on the GPU; equation and contract: `epcore.ops.mse`. At most four axes."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import FILL, THREADS, ceil_div, check, check_shape, empty, flat, launch
from epcore.kernels.cuda.loader import Source
from epcore.kernels.cuda.multiply import four_axes, stretched_strides
from epcore.ops.mse import output_shape

SOURCE = Source("mse", ("mse_sums<{T}>", "mse_merge<{T}>", "mse_backward<{T}>"))


def forward(
    prediction: Array, target: Array, mask: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, tuple[Array, Array, Array | None]]:
    T = check("mse", prediction=prediction, target=target, mask=mask)
    output_shape(prediction.shape, target.shape, None if mask is None else mask.shape, reduction=reduction)
    blocks = min(ceil_div(prediction.size, 4 * THREADS), FILL)
    partial, loss = empty((blocks,), prediction, np.float64), empty((), prediction)
    launch(
        SOURCE, T, f"mse_sums<{T}>", ((blocks,), (THREADS,)),
        prediction, target, mask, partial, prediction.size, *_geometry(prediction, mask),
    )  # fmt: skip
    scale = np.float64(1 / prediction.size if reduction == "mean" else 1)
    launch(SOURCE, T, f"mse_merge<{T}>", ((1,), (THREADS,)), partial, loss, scale, blocks)
    return loss, (prediction, target, mask)


def backward(dy: Array, saved: tuple[Array, Array, Array | None], *, reduction: str = "mean") -> tuple[Array, None, None]:
    prediction, target, mask = saved
    T = check("mse", dy=dy, prediction=prediction, target=target, mask=mask)
    check_shape("mse", "dy", dy, ())
    dprediction = empty(prediction.shape, prediction)
    scale = prediction.dtype.type(2 / prediction.size if reduction == "mean" else 2)
    launch(
        SOURCE, T, f"mse_backward<{T}>", flat(prediction.size, 1),
        dy, prediction, target, mask, dprediction, scale, prediction.size, *_geometry(prediction, mask),
    )  # fmt: skip
    return dprediction, None, None


def _geometry(prediction: Array, mask: Array | None) -> tuple[int, ...]:
    """H, W, C of the prediction and the mask's strides over it."""
    return *four_axes("mse", "prediction", prediction.shape)[1:], *stretched_strides(() if mask is None else mask.shape)
