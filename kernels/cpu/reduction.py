"""Sums that come out the same for any number of threads: the work is divided by shape into parts, each part writes its own
partial sum, and the partial sums are merged in double, in the order of the parts."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.jit import kernel

PARTS = 32  # how many partial sums a reduction is divided into, at most; also the bound on the threads it can use
RUN = 32  # pixels summed in float32 before the sum is added to a double
_BLOCK = 256


@kernel
def merge(partial: np.ndarray, total: np.ndarray) -> None:
    """total (M,) = partial (P, M) summed over P, first part first."""
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


@kernel
def _column_sums(x: np.ndarray, partial: np.ndarray) -> None:
    rows, C = x.shape
    parts = partial.shape[0]
    for part in prange(parts):
        partial[part] = 0.0
        start, end = part * rows // parts, (part + 1) * rows // parts
        sums = np.empty(C, np.float32)
        for block in range(start, end, RUN):
            sums[:] = 0.0
            for row in range(block, min(block + RUN, end)):
                for c in range(C):
                    sums[c] += x[row, c]
            for c in range(C):
                partial[part, c] += sums[c]


def column_sums(x: np.ndarray) -> np.ndarray:
    """(..., C) float32 -> (C,) float32: the sum over everything but the last axis, short runs in float32, the rest in
    double."""
    rows = x.reshape(-1, x.shape[-1])
    partial = np.empty((min(PARTS, len(rows)), rows.shape[1]))
    _column_sums(rows, partial)
    return partial.sum(axis=0).astype(np.float32)
