"""Batch normalisation on the CPU: `epcore.ops.batch_norm` is the definition.

The statistics take one pass over memory: mean and squared deviations of a short run of pixels while it is in the cache,
then runs are merged in double (Chan, Golub, LeVeque 1979), which stays exact where the mean is large beside the spread.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import kernel
from epcore.kernels.cpu.loops import RUN, by_slot
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.reduction import parts_of, period, product_sums, scale, spread
from epcore.kernels.cpu.simd import Block, fma, load, store
from epcore.ops.batch_norm import EPSILON, output_shape

Saved = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@kernel
def _moments(x: np.ndarray, partial: np.ndarray) -> None:
    """x flat, whole periods -> partial (P, 3, period): count, mean and sum of squared deviations by slot, of each part."""
    parts, _, slots = partial.shape
    periods = x.size // slots
    for part in prange(parts):
        count = 0.0
        mean, squares = np.zeros(slots), np.zeros(slots)
        run, center = np.empty(slots, np.float32), np.empty(slots, np.float32)
        end = (part + 1) * periods // parts
        for first in range(part * periods // parts, end, RUN):
            last = min(first + RUN, end)
            new = float(last - first)
            run[:] = 0.0
            for p in range(first, last):
                for j in range(0, slots, LANES):
                    store(run, j, load(run, j) + load(x, p * slots + j))
            for j in range(slots):
                center[j] = run[j] / new
            run[:] = 0.0
            for p in range(first, last):
                for j in range(0, slots, LANES):
                    deviation = load(x, p * slots + j) - load(center, j)
                    store(run, j, fma(deviation, deviation, load(run, j)))
            total = count + new
            for j in range(slots):
                delta = center[j] - mean[j]
                mean[j] += delta * (new / total)
                squares[j] += run[j] + delta * delta * (count * new / total)
            count = total
        partial[part, 0] = count
        partial[part, 1] = mean
        partial[part, 2] = squares


@by_slot
def _normalise(x: Block, constants: np.ndarray, j: int, slots: int) -> Block:
    """(x - mean) * factor + beta."""
    return fma(x - load(constants, j), load(constants, slots + j), load(constants, 2 * slots + j))


@by_slot
def _differentiate(dy: Block, x: Block, constants: np.ndarray, j: int, slots: int) -> Block:
    """factor * dy - beta - along * (x - mean); constants: mean, factor, along, beta."""
    v = fma(load(constants, slots + j), dy, -1.0 * load(constants, 3 * slots + j))
    return v - load(constants, 2 * slots + j) * (x - load(constants, j))


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x (..., C) float32 -> mean (C,) and biased variance (C,), float64."""
    C = x.shape[-1]
    rows, slots = x.reshape(-1, C), period(C)
    whole = x.size // slots * slots
    groups: list[np.ndarray] = []  # (3, groups of one channel, C): count, mean, squared deviations
    if whole:
        partial = np.empty((parts_of(whole, C), 3, slots))
        _moments(x.ravel()[:whole], partial)
        groups.append(partial.reshape(len(partial), 3, -1, C).transpose(1, 0, 2, 3).reshape(3, -1, C))
    rest = rows[whole // C :].astype(np.float64)  # fewer pixels than a period has
    groups.append(np.stack((np.ones_like(rest), rest, np.zeros_like(rest))))
    count, mean, squares = np.concatenate(groups, axis=1)
    total = count.sum(axis=0)
    center = (count * mean).sum(axis=0) / total
    return center, (squares + count * (mean - center) ** 2).sum(axis=0) / total


def forward(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    *,
    epsilon: float = EPSILON,
    training: bool = False,
) -> tuple[np.ndarray, Saved]:
    """x (N,H,W,C), the others (C,), float32 -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    parameters = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_variance": running_variance}
    check("batch_norm", x=x, **parameters)
    output_shape(x.shape, *(parameter.shape for parameter in parameters.values()))
    if training:
        mean, variance = (moment.astype(np.float32) for moment in statistics(x))
    else:
        mean, variance = running_mean, running_variance
    factor = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
    y = empty(x.shape)
    _normalise(x.reshape(1, -1), spread(np.stack((mean, factor, beta)))[None], y.reshape(1, -1))
    return y, (x, gamma, mean, variance)


def backward(
    dy: np.ndarray, saved: Saved, *, epsilon: float = EPSILON, training: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, None, None]:
    """dy as y -> (dx, dgamma, dbeta, None, None)."""
    x, gamma, mean, variance = saved
    check_gradient("batch_norm", dy, x.shape)
    C = x.shape[3]
    pixels = x.size // C
    images = (1, -1, 1, C)
    (dbeta,), (products,) = product_sums(x.reshape(images), dy.reshape(images), mean)
    r = 1 / np.sqrt(variance.astype(np.float64) + epsilon)
    dgamma, factor = products * r, gamma * r
    dx = empty(x.shape)
    if training:
        along, constant = factor * r * dgamma / pixels, factor * dbeta / pixels
        constants = spread(np.stack((mean, factor, along, constant)))[None]
        _differentiate(dy.reshape(1, -1), x.reshape(1, -1), constants, dx.reshape(1, -1))
    else:
        scale(dy.reshape(images), factor[None], np.zeros((1, C)), dx.reshape(images))
    return dx, dgamma.astype(np.float32), dbeta.astype(np.float32), None, None
