"""Sums over pixels and per-channel constants, for the CPU kernels.

Sums come out the same for any number of threads: the work is divided by shape into parts, each part writes its own partial
sum, and partial sums are merged in the order of the parts. They are kept in double: sums of gradients cancel, and the time
goes into reading memory anyway.

NHWC rows are walked flat, in vectors, whatever C is: constants and sums have one slot for every position within a period,
the smallest number of elements that is whole pixels and whole vectors (C where C is a multiple of LANES).
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numba import prange

from epcore.kernels.cpu.jit import inlined, kernel
from epcore.kernels.cpu.loops import RUN, by_slot
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import Block, add_in_double, add_products_in_double, fma, load, load_block, load_partial, prefetch

PARTS = 32  # how many partial sums a reduction is divided into, at most; also the bound on the threads it can use
_BLOCK = 256
_AHEAD = 1024  # elements, more than which are asked for before they are needed: a page


def period(channels: int) -> int:
    """Elements in the least common multiple of a pixel and a vector."""
    return channels * LANES // gcd(channels, LANES)


def spread(*constants: np.ndarray) -> np.ndarray:
    """K arrays (N,C) -> (N,K,period) float32, as `by_slot` kernels take them: each repeated along the last axis."""
    N, C = constants[0].shape
    slots = np.empty((N, len(constants), period(C) // C, C), np.float32)
    for k, each in enumerate(constants):
        slots[:, k] = each[:, None]
    return slots.reshape(N, len(constants), -1)


def gather(slots: np.ndarray, channels: int) -> np.ndarray:
    """Sums (..., period) -> (..., C): the slots of a channel added up."""
    total: np.ndarray = slots.reshape(*slots.shape[:-1], -1, channels).sum(axis=-2)
    return total


def parts_of(size: int, channels: int) -> int:
    """Into how many parts a reduction over `size` elements is divided."""
    return max(1, min(PARTS, size // (RUN * period(channels))))


@kernel
def merge(partial: np.ndarray, total: np.ndarray) -> None:
    """total (M,) = partial (P, M) summed over P in double, first part first."""
    parts, size = partial.shape
    for task in prange((size + _BLOCK - 1) // _BLOCK):
        start = task * _BLOCK
        end = min(start + _BLOCK, size)
        sums = np.zeros(_BLOCK)
        for part in range(parts):
            for i in range(start, end):
                sums[i - start] += partial[part, i]
        for i in range(start, end):
            total[i] = sums[i - start]


@inlined
def _fours(begin: int, end: int) -> int:
    """Where runs of four from `begin` on end, none beyond `end`: a total that is in a register takes four periods at once."""
    return begin + max(end - begin, 0) // 4 * 4


@kernel
def _sums(x: np.ndarray, partial: np.ndarray) -> None:
    """partial (N, P, period) = sums of x (N, H*W*C) by slot over the P-th part."""
    N, size = x.shape
    _, parts, slots = partial.shape
    periods = (size + slots - 1) // slots
    for task in prange(N * parts):
        n = task // parts
        part = task - n * parts
        sums = np.zeros(slots)
        begin, end = part * periods // parts, (part + 1) * periods // parts
        fours, ahead = _fours(begin, min(end, size // slots)), _AHEAD // (4 * slots) * 4 * slots + 4 * slots
        for p in range(begin, fours, 4):
            for j in range(0, slots, LANES):
                i = n * size + p * slots + j
                prefetch(x, i + ahead, slots, 4)
                add_in_double(sums, j, load_block(x, i, slots, 4))
        for p in range(fours, end):
            for j in range(0, min(slots, size - p * slots), LANES):
                add_in_double(sums, j, load_partial(x, n * size + p * slots + j, size - p * slots - j))
        partial[n, part] = sums


@kernel
def _product_sums(x: np.ndarray, center: np.ndarray, dy: np.ndarray, partial: np.ndarray) -> None:
    """partial (N, P, 2, period) = sums of dy and of (x - center) * dy by slot over the P-th part; x, dy (N, H*W*C)."""
    N, size = x.shape
    _, parts, _, slots = partial.shape
    periods = (size + slots - 1) // slots
    for task in prange(N * parts):
        n = task // parts
        part = task - n * parts
        sums, products = np.zeros(slots), np.zeros(slots)
        begin, end = part * periods // parts, (part + 1) * periods // parts
        fours, ahead = _fours(begin, min(end, size // slots)), _AHEAD // (4 * slots) * 4 * slots + 4 * slots
        for p in range(begin, fours, 4):
            for j in range(0, slots, LANES):
                i = n * size + p * slots + j
                prefetch(x, i + ahead, slots, 4)
                prefetch(dy, i + ahead, slots, 4)
                gradients = load_block(dy, i, slots, 4)
                add_in_double(sums, j, gradients)
                add_products_in_double(products, j, load_block(x, i, slots, 4), load(center, j), gradients)
        for p in range(fours, end):
            for j in range(0, min(slots, size - p * slots), LANES):
                i, rest = n * size + p * slots + j, size - p * slots - j
                gradient = load_partial(dy, i, rest)
                add_in_double(sums, j, gradient)
                add_products_in_double(products, j, load_partial(x, i, rest), load(center, j), gradient)
        partial[n, part, 0] = sums
        partial[n, part, 1] = products


@by_slot
def _scale(x: Block, constants: np.ndarray, j: int, slots: int) -> Block:
    """x * factor + shift."""
    return fma(x, load(constants, j), load(constants, slots + j))


def image_sums(x: np.ndarray) -> np.ndarray:
    """x (N,H,W,C) float32 -> (N,C) float64: the sum over the pixels of every image."""
    N, C = x.shape[0], x.shape[-1]
    rows = x.reshape(N, -1)
    partial = np.empty((N, parts_of(rows.shape[1], C), period(C)))
    _sums(rows, partial)
    return gather(partial.sum(axis=1), C)


def column_sums(x: np.ndarray) -> np.ndarray:
    """x (..., C) float32 -> (C,) float32: the sum over everything but the last axis."""
    total: np.ndarray = image_sums(x.reshape(1, -1, 1, x.shape[-1]))[0].astype(np.float32)
    return total


def partial_product_sums(x: np.ndarray, dy: np.ndarray, center: np.ndarray) -> np.ndarray:
    """x, dy (N,H*W*C), center (C,) -> float64 (N,P,2,period): by part and slot, sums of dy and of (x - center) * dy."""
    slots = period(center.size)
    partial = np.empty((x.shape[0], parts_of(x.shape[1], center.size), 2, slots))
    repeated = np.empty((slots // center.size, center.size), np.float32)
    repeated[:] = center
    _product_sums(x, repeated.reshape(-1), dy, partial)
    return partial


def product_sums(x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x, dy (N,H,W,C) -> float64 (N,C) sums of dy and of x * dy over the pixels of every image."""
    N, C = x.shape[0], x.shape[-1]
    totals = gather(partial_product_sums(x.reshape(N, -1), dy.reshape(N, -1), np.zeros(C, np.float32)).sum(axis=1), C)
    return totals[:, 0], totals[:, 1]


def scale(x: np.ndarray, factor: np.ndarray, shift: np.ndarray, y: np.ndarray) -> None:
    """y = x * factor + shift; x, y (N,H,W,C), factor and shift (N,C) or, for the same value in all channels, (N,1)."""
    N = x.shape[0]
    _scale(x.reshape(N, -1), spread(factor, shift), y.reshape(N, -1))
