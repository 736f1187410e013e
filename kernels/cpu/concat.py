"""Concatenation along channels on the CPU: `epcore.ops.concat` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import kernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, store_partial
from epcore.ops.concat import output_shape

_ROWS = 64  # pixels a task


@kernel
def _copy_columns(source: np.ndarray, source_from: int, target: np.ndarray, target_from: int, columns: int) -> None:
    """target[:, target_from : + columns] = source[:, source_from : + columns], rows of pixels."""
    rows, width, target_width = source.shape[0], source.shape[1], target.shape[1]
    for task in prange((rows + _ROWS - 1) // _ROWS):
        for row in range(task * _ROWS, min((task + 1) * _ROWS, rows)):
            a, b = row * width + source_from, row * target_width + target_from
            for block in range(0, columns, LANES):
                c = max(min(block, columns - LANES), 0)  # the last block overlaps the one before it
                store_partial(target, b + c, load_partial(source, a + c, columns - c), columns - c)


def forward(*xs: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """(N,H,W,C_i) float32 each -> (N,H,W,sum C_i). Raises TypeError or ValueError for what the kernels refuse."""
    check("concat", **{f"input {i}": x for i, x in enumerate(xs)})
    y = empty(output_shape(*(x.shape for x in xs)))
    start = 0
    for x in xs:
        _copy_columns(x.reshape(-1, x.shape[-1]), 0, y.reshape(-1, y.shape[-1]), start, x.shape[-1])
        start += x.shape[-1]
    return y, tuple(x.shape[-1] for x in xs)


def backward(dy: np.ndarray, saved: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    check_gradient("concat", dy, (*dy.shape[:-1], sum(saved)))
    pieces, start = [], 0
    for channels in saved:
        piece = empty((*dy.shape[:-1], channels))
        _copy_columns(dy.reshape(-1, dy.shape[-1]), start, piece.reshape(-1, channels), 0, channels)
        pieces.append(piece)
        start += channels
    return tuple(pieces)
