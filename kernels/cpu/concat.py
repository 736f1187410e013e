"""Concatenation along channels on the CPU: `epcore.ops.concat` is the definition.

One pass over the pixels for all inputs: a launch for each would cost more than what small maps hold.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import inlined, kernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, store_partial
from epcore.ops.concat import output_shape

_ROWS = 64  # pixels a task


@inlined
def _copy(source, a, target, b, columns):  # type: ignore[no-untyped-def]
    """target[b : b + columns] = source[a : a + columns], both flat."""
    for block in range(0, columns, LANES):
        c = max(min(block, columns - LANES), 0)  # the last block overlaps the one before it
        store_partial(target, b + c, load_partial(source, a + c, columns - c), columns - c)


@kernel
def _join(parts: tuple[np.ndarray, ...], whole: np.ndarray) -> None:
    """whole (pixels, C) = parts (pixels, C_i) side by side."""
    rows, width = whole.shape
    for task in prange((rows + _ROWS - 1) // _ROWS):
        start = 0
        for part in parts:
            columns = part.shape[1]
            for row in range(task * _ROWS, min((task + 1) * _ROWS, rows)):
                _copy(part, row * columns, whole, row * width + start, columns)
            start += columns


@kernel
def _divide(whole: np.ndarray, parts: tuple[np.ndarray, ...]) -> None:
    """parts (pixels, C_i) = the columns of whole (pixels, C)."""
    rows, width = whole.shape
    for task in prange((rows + _ROWS - 1) // _ROWS):
        start = 0
        for part in parts:
            columns = part.shape[1]
            for row in range(task * _ROWS, min((task + 1) * _ROWS, rows)):
                _copy(whole, row * width + start, part, row * columns, columns)
            start += columns


def forward(*xs: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """(N,H,W,C_i) float32 each -> (N,H,W,sum C_i). Raises TypeError or ValueError for what the kernels refuse."""
    check("concat", **{f"input {i}": x for i, x in enumerate(xs)})
    y = empty(output_shape(*(x.shape for x in xs)))
    _join(tuple(x.reshape(-1, x.shape[-1]) for x in xs), y.reshape(-1, y.shape[-1]))
    return y, tuple(x.shape[-1] for x in xs)


def backward(dy: np.ndarray, saved: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    check_gradient("concat", dy, (*dy.shape[:-1], sum(saved)))
    pieces = tuple(empty((*dy.shape[:-1], channels)) for channels in saved)
    _divide(dy.reshape(-1, dy.shape[-1]), tuple(piece.reshape(-1, piece.shape[-1]) for piece in pieces))
    return pieces
