"""Steps that move or add: reading the picture, halving it, sums of two maps, slices of concatenations."""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, store_partial


@njit(error_model="numpy")
def read(arena: np.ndarray, step: np.ndarray, task: int, picture: np.ndarray) -> None:
    """Copy the picture (N*H*W*C) into a frame of zeros, OH x OW large, at (TOP, LEFT). Task: one row of the frame."""
    n, oy = task // step[f.OH], task % step[f.OH]
    length, inner, left = step[f.OW] * step[f.C], step[f.W] * step[f.C], step[f.LEFT] * step[f.C]
    y = step[f.Y] + n * step[f.Y_IMAGE] + oy * length
    iy = oy - step[f.TOP]
    if iy < 0 or iy >= step[f.H]:
        arena[y : y + length] = 0.0
        return
    x = (n * step[f.H] + iy) * inner
    arena[y : y + left] = 0.0
    arena[y + left : y + left + inner] = picture[x : x + inner]
    arena[y + left + inner : y + length] = 0.0


@njit(error_model="numpy")
def halve(arena: np.ndarray, step: np.ndarray, task: int, picture: np.ndarray) -> None:
    """The same of the picture's 2x2 averages, of which there are SIZE columns; the frame's inner rows are H // 2."""
    n, oy = task // step[f.OH], task % step[f.OH]
    length, columns, channels, left = step[f.OW] * step[f.C], step[f.SIZE], step[f.C], step[f.LEFT] * step[f.C]
    y = step[f.Y] + n * step[f.Y_IMAGE] + oy * length
    arena[y : y + length] = 0.0
    iy = oy - step[f.TOP]
    if iy < 0 or iy >= step[f.H] // 2:
        return
    row = step[f.W] * channels
    upper = (n * step[f.H] + 2 * iy) * row
    for i in range(columns):
        for c in range(channels):
            x = upper + 2 * i * channels + c
            total = (picture[x] + picture[x + channels]) + (picture[x + row] + picture[x + row + channels])
            arena[y + left + i * channels + c] = total * np.float32(0.25)


@njit(error_model="numpy")
def add(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Task: CHUNK pixels of one image."""
    pixels = step[f.H] * step[f.W]
    chunks = (pixels + step[f.CHUNK] - 1) // step[f.CHUNK]
    n, first = task // chunks, task % chunks * step[f.CHUNK]
    for p in range(first, min(first + step[f.CHUNK], pixels)):
        x = step[f.X] + n * step[f.X_IMAGE] + p * step[f.X_PIXEL]
        a = step[f.A] + n * step[f.A_IMAGE] + p * step[f.A_PIXEL]
        y = step[f.Y] + n * step[f.Y_IMAGE] + p * step[f.Y_PIXEL]
        for c in range(0, step[f.C], LANES):
            rest = step[f.C] - c
            store_partial(arena, y + c, load_partial(arena, x + c, rest) + load_partial(arena, a + c, rest), rest)


@njit(error_model="numpy")
def copy(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Task: CHUNK pixels of one image."""
    pixels = step[f.H] * step[f.W]
    chunks = (pixels + step[f.CHUNK] - 1) // step[f.CHUNK]
    n, first = task // chunks, task % chunks * step[f.CHUNK]
    for p in range(first, min(first + step[f.CHUNK], pixels)):
        x = step[f.X] + n * step[f.X_IMAGE] + p * step[f.X_PIXEL]
        y = step[f.Y] + n * step[f.Y_IMAGE] + p * step[f.Y_PIXEL]
        for c in range(0, step[f.C], LANES):
            rest = step[f.C] - c
            store_partial(arena, y + c, load_partial(arena, x + c, rest), rest)
