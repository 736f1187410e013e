"""Batch normalisation on the CPU: `epcore.ops.batch_norm` is the definition.

The statistics take one pass over memory: mean and squared deviations of a short run of pixels while it is in the cache,
then runs are merged in double (Chan, Golub, LeVeque 1979), which stays exact where the mean is large beside the spread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import inlined, kernel, serial_kernel
from epcore.kernels.cpu.loops import RUN, by_slot
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.reduction import partial_product_sums, parts_of, period, scale
from epcore.kernels.cpu.simd import Block, fma, load, load_block, splat, store_block
from epcore.ops.batch_norm import EPSILON, output_shape

Saved = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _deviations(vectors: int) -> Callable[..., None]:
    """Means and sums of squared deviations of so many neighbouring vectors in `count` periods, kept in registers."""

    @inlined
    def run(x, start, slots, count, center, squares, j):  # type: ignore[no-untyped-def]
        total = splat(0.0, vectors)
        for p in range(count):
            total = total + load_block(x, start + p * slots, LANES, vectors)
        mean = total / float(count)
        total = splat(0.0, vectors)
        for p in range(count):
            deviation = load_block(x, start + p * slots, LANES, vectors) - mean
            total = fma(deviation, deviation, total)
        store_block(center, j, LANES, mean)
        store_block(squares, j, LANES, total)

    return run


_four_deviations, _one_deviation = _deviations(4), _deviations(1)


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
            j = 0
            while j + 4 * LANES <= slots:
                _four_deviations(x, first * slots + j, slots, last - first, center, run, j)
                j += 4 * LANES
            while j < slots:
                _one_deviation(x, first * slots + j, slots, last - first, center, run, j)
                j += LANES
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


@serial_kernel
def _merge(partial: np.ndarray, rest: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
    """mean, variance (C,) of the groups (count, mean, squared deviations) of all parts and slots, and of `rest` (R,C), each a
    group of one; first part first."""
    parts, _, slots = partial.shape
    C = mean.size
    total = float(len(rest))
    for part in range(parts):
        total += partial[part, 0, 0] * (slots // C)
    mean[:] = 0.0
    variance[:] = 0.0
    for part in range(parts):
        for slot in range(0, slots, C):
            for c in range(C):
                mean[c] += partial[part, 0, slot + c] * partial[part, 1, slot + c]
    for row in range(len(rest)):
        for c in range(C):
            mean[c] += rest[row, c]
    for c in range(C):
        mean[c] /= total
    for part in range(parts):
        for slot in range(0, slots, C):
            for c in range(C):
                delta = partial[part, 1, slot + c] - mean[c]
                variance[c] += partial[part, 2, slot + c] + partial[part, 0, slot + c] * (delta * delta)
    for row in range(len(rest)):
        for c in range(C):
            delta = rest[row, c] - mean[c]
            variance[c] += delta * delta
    for c in range(C):
        variance[c] /= total


@serial_kernel
def _forward_constants(
    mean: np.ndarray, variance: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float, constants: np.ndarray
) -> None:
    """constants (3, period) of `_normalise`, from arrays (C,)."""
    C = mean.size
    for slot in range(constants.shape[1]):
        c = slot % C
        constants[0, slot] = mean[c]
        constants[1, slot] = gamma[c] / np.sqrt(np.float64(variance[c]) + epsilon)
        constants[2, slot] = beta[c]


@serial_kernel
def _backward_constants(
    partial: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray,
    epsilon: float,
    pixels: int,
    gradients: np.ndarray,
    constants: np.ndarray,
) -> None:
    """gradients (2, C), of gamma and beta, and constants (4, period) of `_differentiate`, from the partial sums (P, 2, period)
    of dy and of (x - mean) * dy; pixels: how many the means are of, 0 where they are given (then dx = factor * dy)."""
    parts, _, slots = partial.shape
    C = mean.size
    for c in range(C):
        dbeta = products = 0.0
        for slot in range(c, slots, C):
            a = b = 0.0
            for part in range(parts):
                a += partial[part, 0, slot]
                b += partial[part, 1, slot]
            dbeta += a
            products += b
        r = 1.0 / np.sqrt(np.float64(variance[c]) + epsilon)
        dgamma, factor = products * r, gamma[c] * r
        gradients[0, c], gradients[1, c] = dgamma, dbeta
        along = factor * r * dgamma / pixels if pixels else 0.0
        constant = factor * dbeta / pixels if pixels else 0.0
        for slot in range(c, slots, C):
            constants[0, slot], constants[1, slot] = mean[c], factor
            constants[2, slot], constants[3, slot] = along, constant


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x (..., C) float32 -> mean (C,) and biased variance (C,), float64."""
    C = x.shape[-1]
    flat, slots = x.reshape(-1), period(C)
    whole = x.size // slots * slots
    partial = np.empty((parts_of(whole, C) if whole else 0, 3, slots))
    if whole:
        _moments(flat[:whole], partial)
    mean, variance = np.empty(C), np.empty(C)
    _merge(partial, flat[whole:].reshape(-1, C), mean, variance)  # the rest: fewer pixels than a period has
    return mean, variance


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
    constants = np.empty((1, 3, period(x.shape[3])), np.float32)
    _forward_constants(mean, variance, gamma, beta, float(epsilon), constants[0])
    y = empty(x.shape)
    _normalise(x.reshape(1, -1), constants, y.reshape(1, -1))
    return y, (x, gamma, mean, variance)


def backward(
    dy: np.ndarray, saved: Saved, *, epsilon: float = EPSILON, training: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, None, None]:
    """dy as y -> (dx, dgamma, dbeta, None, None)."""
    x, gamma, mean, variance = saved
    check_gradient("batch_norm", dy, x.shape)
    C = x.shape[3]
    gradients, constants = np.empty((2, C), np.float32), np.empty((1, 4, period(C)), np.float32)
    partial = partial_product_sums(x.reshape(1, -1), dy.reshape(1, -1), mean)[0]
    pixels = x.size // C if training else 0
    _backward_constants(partial, mean, variance, gamma, float(epsilon), pixels, gradients, constants[0])
    dx = empty(x.shape)
    if training:
        _differentiate(dy.reshape(1, -1), x.reshape(1, -1), constants, dx.reshape(1, -1))
    else:
        scale(dy.reshape(1, -1, 1, C), constants[:, 1, :C], constants[:, 2, :C], dx.reshape(1, -1, 1, C))
    return dx, gradients[0], gradients[1], None, None
