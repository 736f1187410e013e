"""1x1 convolution of a chunk of pixels: product, bias, activation and residual in registers, stored once.

    y[p, j] = activation(bias[j] + sum_k x[p, k] * w[k, j]) + a[p, j]

A tile of ROWS pixels x V vectors of columns stays in registers over the whole sum. The weights come in panels: for every k
the V vectors a tile needs, one after the other, so that they are read straight through. FULL panels of FULL_VECTORS stand
side by side; one more of REST_VECTORS begins at column REST_START with REST_STEP between its vectors. Where the number of
columns is no multiple of LANES, vectors overlap (the rest panel starts early, or its step is short) and columns are
computed twice, to the same value; likewise the last tile of a chunk overlaps the one before it. Where the input is too
large for the cache (AHEAD) a tile asks for the pixels of the next one while it works.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.simd import load_block, load_tile, outer, prefetch, repeat, splat, store_tile, swish, where_greater

ROWS = TILE_ROWS


@njit(error_model="numpy")
def finish(sums, activation, beta):  # type: ignore[no-untyped-def]  # register blocks have no Python type
    """The activation of a block of sums; beta is the factor of (E-)swish or the cap of ReLU."""
    if activation == f.SWISH:
        return swish(sums) * beta
    if activation == f.RELU:
        positive = where_greater(splat(0.0, 1), sums, splat(0.0, 1), sums)  # NaN is not greater, so it passes
        cap = splat(beta, 1)
        return where_greater(positive, cap, cap, positive)
    return sums


@cache
def _tile(rows: int, vectors: int) -> Callable[..., None]:
    """One register tile: `rows` pixels from `pixel`, `vectors` vectors of columns from `column`, `between` apart."""

    @njit(error_model="numpy")
    def tile(  # type: ignore[no-untyped-def]
        arena, x, x_pixel, depth, weights, bias, y, y_pixel, between, a, a_pixel, activation, beta, ahead
    ):
        sums = repeat(load_block(arena, bias, between, vectors), rows)
        if ahead:
            for k in range(depth):
                if k & (LANES - 1) == 0:  # a cache line of each pixel
                    prefetch(arena, x + rows * x_pixel + k, x_pixel, rows)
                columns = load_block(arena, weights + k * (vectors * LANES), LANES, vectors)
                sums = outer(sums, arena, x + k, x_pixel, columns)
        else:
            for k in range(depth):
                columns = load_block(arena, weights + k * (vectors * LANES), LANES, vectors)
                sums = outer(sums, arena, x + k, x_pixel, columns)
        sums = finish(sums, activation, beta)
        if a >= 0:
            sums = sums + load_tile(arena, a, a_pixel, between, rows, vectors)
        store_tile(arena, y, y_pixel, between, sums, vectors)

    return tile


_tile3, _tile2, _tile1 = _tile(ROWS, 3), _tile(ROWS, 2), _tile(ROWS, 1)
_row3, _row2, _row1 = _tile(1, 3), _tile(1, 2), _tile(1, 1)  # for maps smaller than a tile


@njit(error_model="numpy")
def _panel(  # type: ignore[no-untyped-def]
    arena, vectors, pixels, x, x_pixel, depth, weights, bias, y, y_pixel, between, a, a_pixel, activation, beta, ahead
):
    """One panel of columns for a chunk of pixels."""
    start = 0
    while start < pixels:
        if pixels >= ROWS:
            p = min(start, pixels - ROWS)
            xp, yp, ap = x + p * x_pixel, y + p * y_pixel, a + p * a_pixel if a >= 0 else -1
            if vectors == 3:
                _tile3(arena, xp, x_pixel, depth, weights, bias, yp, y_pixel, between, ap, a_pixel, activation, beta, ahead)
            elif vectors == 2:
                _tile2(arena, xp, x_pixel, depth, weights, bias, yp, y_pixel, between, ap, a_pixel, activation, beta, ahead)
            else:
                _tile1(arena, xp, x_pixel, depth, weights, bias, yp, y_pixel, between, ap, a_pixel, activation, beta, ahead)
            start += ROWS
        else:
            xp, yp, ap = x + start * x_pixel, y + start * y_pixel, a + start * a_pixel if a >= 0 else -1
            if vectors == 3:
                _row3(arena, xp, x_pixel, depth, weights, bias, yp, y_pixel, between, ap, a_pixel, activation, beta, ahead)
            elif vectors == 2:
                _row2(arena, xp, x_pixel, depth, weights, bias, yp, y_pixel, between, ap, a_pixel, activation, beta, ahead)
            else:
                _row1(arena, xp, x_pixel, depth, weights, bias, yp, y_pixel, between, ap, a_pixel, activation, beta, ahead)
            start += 1


@njit(error_model="numpy")
def product(  # type: ignore[no-untyped-def]
    arena, step, first, last, count, x, x_pixel, depth, weights, bias, y, y_pixel, a, a_pixel, activation, beta
):
    """`count` pixels from x to y, the columns of panels from `first` to before `last`; the rest panel is number FULL.

    `step` says how the columns are cut.
    """
    width = step[f.FULL_VECTORS] * LANES
    for panel in range(first, last):
        rest = panel == step[f.FULL]
        j = step[f.REST_START] if rest else panel * width
        _panel(
            arena, step[f.REST_VECTORS] if rest else step[f.FULL_VECTORS], count,
            x, x_pixel, depth, weights + panel * width * depth, bias + j,
            y + j, y_pixel, step[f.REST_STEP] if rest else LANES, a + j if a >= 0 else -1, a_pixel, activation, beta,
            step[f.AHEAD],
        )  # fmt: skip


@njit(error_model="numpy")
def panel_count(step: np.ndarray) -> int:
    return int(step[f.FULL] + (1 if step[f.REST_VECTORS] else 0))


@njit(error_model="numpy")
def pointwise(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Task: CHUNK pixels of one image."""
    pixels = step[f.H] * step[f.W]
    chunks = (pixels + step[f.CHUNK] - 1) // step[f.CHUNK]
    n, chunk = task // chunks, task % chunks
    first = chunk * step[f.CHUNK]
    product(
        arena, step, 0, panel_count(step), min(step[f.CHUNK], pixels - first),
        step[f.X] + n * step[f.X_IMAGE] + first * step[f.X_PIXEL], step[f.X_PIXEL], step[f.C],
        step[f.WEIGHTS] + n * step[f.WEIGHTS_IMAGE], step[f.BIAS],
        step[f.Y] + n * step[f.Y_IMAGE] + first * step[f.Y_PIXEL], step[f.Y_PIXEL],
        step[f.A] + n * step[f.A_IMAGE] + first * step[f.A_PIXEL] if step[f.A] >= 0 else -1, step[f.A_PIXEL],
        step[f.ACTIVATION], arena[step[f.BETA]],
    )  # fmt: skip
