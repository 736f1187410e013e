"""Squared error on the CPU: `epcore.ops.mse` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import CHUNK, kernel
from epcore.kernels.cpu.loops import elementwise
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import Block, horizontal_sum, load_partial, splat
from epcore.ops.mse import output_shape

Saved = tuple[np.ndarray, np.ndarray, np.ndarray | None]
_RUN = 64 * LANES  # elements summed in float32 before the sum is added to a double


@kernel
def _squares(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray, partial: np.ndarray) -> None:
    """partial (P,) = sum of mask * (prediction - target)^2 over the P-th chunk; flat arrays, an empty mask is all ones."""
    size = prediction.size
    for task in prange(partial.size):
        end = min((task + 1) * CHUNK, size)
        total = 0.0
        for start in range(task * CHUNK, end, _RUN):
            sums = splat(0.0, 1)
            for i in range(start, min(start + _RUN, end), LANES):
                d = load_partial(prediction, i, end - i) - load_partial(target, i, end - i)
                d = d * d
                if mask.size:
                    d = d * load_partial(mask, i, end - i)
                sums = sums + d
            total += horizontal_sum(sums)
        partial[task] = total


@elementwise
def _differentiate(prediction: Block, target: Block, factor: float) -> Block:
    return (prediction - target) * factor


@elementwise
def _differentiate_masked(prediction: Block, target: Block, mask: Block, factor: float) -> Block:
    return (prediction - target) * factor * mask


def _flat_mask(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if mask is None:
        return np.empty(0, np.float32)
    return np.ascontiguousarray(np.broadcast_to(mask, shape)).reshape(-1)


def forward(
    prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, *, reduction: str = "mean"
) -> tuple[np.ndarray, Saved]:
    """prediction and target float32 of the same shape, mask broadcastable to it -> a 0-d array.

    Raises TypeError or ValueError for what the kernels refuse.
    """
    check("mse", prediction=prediction, target=target, mask=mask)
    output_shape(prediction.shape, target.shape, None if mask is None else mask.shape, reduction=reduction)
    partial = np.empty((prediction.size + CHUNK - 1) // CHUNK)
    _squares(prediction.ravel(), target.ravel(), _flat_mask(mask, prediction.shape), partial)
    loss = partial.sum() / (prediction.size if reduction == "mean" else 1)
    return np.asarray(loss, np.float32), (prediction, target, mask)


def backward(dy: np.ndarray, saved: Saved, *, reduction: str = "mean") -> tuple[np.ndarray, None, None]:
    prediction, target, mask = saved
    check_gradient("mse", dy, ())
    factor = np.float32(float(dy) * 2 / (prediction.size if reduction == "mean" else 1))
    dprediction = empty(prediction.shape)
    if mask is None:
        _differentiate(prediction, target, factor, dprediction)
    else:
        _differentiate_masked(prediction, target, _flat_mask(mask, prediction.shape), factor, dprediction)
    return dprediction, None, None
