"""Squared error between predicted and target maps, the paper's training loss.

Equation:
    sum:   y = sum mask * (prediction - target)^2
    mean:  the same divided by the number of elements of prediction

Symbols:
    prediction, target of any one shape; mask of zeros and ones that broadcasts to it, None for all ones; y a single number.
    The mean counts masked elements too, so that the loss of one keypoint does not depend on how many others are annotated.

Derivation:
    Each element stands in one term, d(prediction - target)^2 / dprediction = 2 * (prediction - target):
        dprediction = 2 * mask * (prediction - target) * dy,        for mean divided by the same number
    Target and mask are data: they have no gradient.

Saved:
    prediction, target, mask
    All are held by others anyway.

Cost:
    Every element once forward, difference, square and sum; once backward, difference and factor.

Source:
    EfficientPose (Groos et al. 2020), Section 4.1.
"""

from __future__ import annotations

from math import prod

import numpy as np

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape
from epcore.sums import dot_in_double


def forward(
    prediction: Array, target: Array, mask: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, tuple[Array, Array, Array | None]]:
    """prediction and target of the same shape, mask broadcastable to it -> a 0-d array.

    Raises ValueError where the shapes do not fit or the reduction is neither "mean" nor "sum".
    """
    xp = array_module(prediction, target, mask)
    output_shape(prediction.shape, target.shape, None if mask is None else mask.shape, reduction=reduction)
    difference = prediction - target
    # (shape of prediction) * (shape of prediction), summed to one number
    total = dot_in_double(difference if mask is None else difference * mask, difference)
    loss = total / prediction.size if reduction == "mean" else total
    return xp.asarray(loss, prediction.dtype), (prediction, target, mask)


def backward(dy: Array, saved: tuple[Array, Array, Array | None], *, reduction: str = "mean") -> tuple[Array, None, None]:
    prediction, target, mask = saved
    scale = dy * prediction.dtype.type(2 / prediction.size if reduction == "mean" else 2)
    dprediction = scale * (prediction - target)
    if mask is not None:
        dprediction = dprediction * mask
    return dprediction, None, None


def output_shape(prediction: Shape, target: Shape, mask: Shape | None = None, *, reduction: str = "mean") -> Shape:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"mse: reduction is {reduction!r}, expected 'mean' or 'sum'")
    if prediction != target:
        raise ValueError(f"mse: prediction has shape {prediction} and target {target}, expected the same")
    if mask is not None and np.broadcast_shapes(prediction, mask) != prediction:
        raise ValueError(f"mse: mask {mask} does not broadcast to the prediction {prediction}")
    return ()


def cost(prediction: Shape, target: Shape, mask: Shape | None = None, *, reduction: str = "mean") -> Cost:
    return Cost(elementwise={"mse": prod(prediction)}, backward_elementwise={"mse": prod(prediction)})


OP = Op("mse", forward, backward, output_shape, cost, data=("target", "mask"), operations=(3, 2))
