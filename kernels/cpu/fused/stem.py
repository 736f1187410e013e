"""The stem: dense convolution of the three-channel picture, one row of output pixels a task.

    y[oy, ox, j] = activation(bias[j] + sum_{u,v,c} x[oy*s + u - top, ox*s + v - left, c] * w[u, v, c, j])

The window of an output pixel is SIZE runs of SIZE * C numbers that lie one after the other in memory, so a tile of pixels
takes them straight from the picture, without an im2col copy. The picture has been copied into a frame of zeros before
(`move.read`), so every window is inside. The weights come in panels as in pointwise.py, one k for each number of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.pointwise import ROWS, finish
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_block, outer, repeat, store_tile


@cache
def _tile(rows: int, vectors: int) -> Callable[..., None]:
    @njit(error_model="numpy")
    def tile(  # type: ignore[no-untyped-def]
        arena, x, x_row, x_step, run, size, weights, bias, y, y_pixel, between, activation, beta
    ):
        sums = repeat(load_block(arena, bias, between, vectors), rows)
        for u in range(size):
            for k in range(run):
                columns = load_block(arena, weights + (u * run + k) * (vectors * LANES), LANES, vectors)
                sums = outer(sums, arena, x + u * x_row + k, x_step, columns)
        store_tile(arena, y, y_pixel, between, finish(sums, activation, beta), vectors)

    return tile


_tile3, _tile2, _tile1 = _tile(ROWS, 3), _tile(ROWS, 2), _tile(ROWS, 1)
_row3, _row2, _row1 = _tile(1, 3), _tile(1, 2), _tile(1, 1)


@njit(error_model="numpy")
def _panel(  # type: ignore[no-untyped-def]
    arena, step, vectors, x, weights, bias, y, between
):
    run = step[f.SIZE] * step[f.C]
    x_row, x_step = step[f.W] * step[f.C], step[f.STRIDE] * step[f.C]
    y_pixel, activation, beta, size, width = step[f.Y_PIXEL], step[f.ACTIVATION], arena[step[f.BETA]], step[f.SIZE], step[f.OW]
    start = 0
    while start < width:
        if width >= ROWS:
            p = min(start, width - ROWS)
            xp, yp = x + p * x_step, y + p * y_pixel
            if vectors == 3:
                _tile3(arena, xp, x_row, x_step, run, size, weights, bias, yp, y_pixel, between, activation, beta)
            elif vectors == 2:
                _tile2(arena, xp, x_row, x_step, run, size, weights, bias, yp, y_pixel, between, activation, beta)
            else:
                _tile1(arena, xp, x_row, x_step, run, size, weights, bias, yp, y_pixel, between, activation, beta)
            start += ROWS
        else:
            xp, yp = x + start * x_step, y + start * y_pixel
            if vectors == 3:
                _row3(arena, xp, x_row, x_step, run, size, weights, bias, yp, y_pixel, between, activation, beta)
            elif vectors == 2:
                _row2(arena, xp, x_row, x_step, run, size, weights, bias, yp, y_pixel, between, activation, beta)
            else:
                _row1(arena, xp, x_row, x_step, run, size, weights, bias, yp, y_pixel, between, activation, beta)
            start += 1


@njit(error_model="numpy")
def stem(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Task: one row of output pixels of one image. H and W are those of the frame."""
    n, oy = task // step[f.OH], task % step[f.OH]
    x = step[f.X] + n * step[f.X_IMAGE] + oy * step[f.STRIDE] * step[f.W] * step[f.C]
    y = step[f.Y] + n * step[f.Y_IMAGE] + oy * step[f.OW] * step[f.Y_PIXEL]
    depth = step[f.SIZE] * step[f.SIZE] * step[f.C]
    width = step[f.FULL_VECTORS] * LANES
    for panel in range(step[f.FULL]):
        j = panel * width
        _panel(arena, step, step[f.FULL_VECTORS], x, step[f.WEIGHTS] + j * depth, step[f.BIAS] + j, y + j, LANES)
    if step[f.REST_VECTORS]:
        j = step[f.REST_START]
        weights = step[f.WEIGHTS] + step[f.FULL] * width * depth
        _panel(arena, step, step[f.REST_VECTORS], x, weights, step[f.BIAS] + j, y + j, step[f.REST_STEP])
