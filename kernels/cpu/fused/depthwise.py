"""Depthwise convolution of one row of output pixels: bias, activation and the row's sums (for squeeze-and-excitation) fused.

    y[oy, ox, c] = activation(bias[c] + sum_{u,v} x[oy*s + u - top, ox*s + v - left, c] * w[u, v, c])
    sums[oy, c] = sum over ox of y[oy, ox, c]

A strip of output pixels x LANES channels is summed in registers, as in `epcore.kernels.cpu.depthwise_conv2d`. Where C is no
multiple of LANES the last vector of channels overlaps the one before it; the last strip of a row likewise, and the pixels
it computes a second time are left out of the sums. A strip whose window is inside the map, as most are, takes no account of
the border: to ask of every pixel whether it is there costs a sixth of a 5x5 layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.pointwise import finish
from epcore.kernels.cpu.processor import LANES, STRIP_PIXELS
from epcore.kernels.cpu.simd import load, load_block, load_strip, slide, splat, store, store_block, store_strip, sum_range

# Strips at stride 1. 5x5 has a choice: the one that overlaps least, so that no map of the networks computes much twice.
STRIP, STRIPS = STRIP_PIXELS, (10, 8, 7) if STRIP_PIXELS == 8 else (4, 4, 4)
STRIP_STRIDE2 = STRIP_PIXELS // 2


@cache
def _row(size: int, stride: int, strip: int) -> Callable[..., None]:
    PIXELS = (strip - 1) * stride + size

    @njit(error_model="numpy")
    def row(arena, step, n, oy, x, mask, pixel, block, end):  # type: ignore[no-untyped-def]
        channels, width, out_width, out_pixel = step[f.C], step[f.W], step[f.OW], step[f.Y_PIXEL]
        y = step[f.Y] + n * step[f.Y_IMAGE] + oy * out_width * out_pixel
        activation, beta, weights = step[f.ACTIVATION], arena[step[f.BETA]], step[f.WEIGHTS]
        iy = oy * stride - step[f.TOP]
        first, last = max(-iy, 0), min(size, step[f.H] - iy)
        whole = first == 0 and last == size
        while block < end:
            c = min(block, end - LANES)
            bias = load(arena, step[f.BIAS] + c)
            row_sum = splat(0.0, 1)
            start = 0
            while start < out_width:
                ox = max(min(start, out_width - strip), 0)
                ix = ox * stride - step[f.LEFT]
                sums = splat(0.0, strip) + bias
                if whole and ix >= 0 and ix + PIXELS <= width:
                    for u in range(size):
                        taps = load_block(arena, weights + u * size * channels + c, channels, size)
                        pixels = load_block(arena, x + (((iy + u) & mask) * width + ix) * pixel + c, pixel, PIXELS)
                        sums = slide(sums, pixels, taps, stride)
                else:
                    for u in range(first, last):
                        taps = load_block(arena, weights + u * size * channels + c, channels, size)
                        pixels = load_strip(arena, x + ((iy + u) & mask) * width * pixel + c, ix, width, pixel, PIXELS)
                        sums = slide(sums, pixels, taps, stride)
                sums = finish(sums, activation, beta)
                if out_width >= strip:
                    store_block(arena, y + ox * out_pixel + c, out_pixel, sums)
                    if start == ox:
                        row_sum = sum_range(row_sum, sums, 0, strip)
                    else:
                        row_sum = sum_range(row_sum, sums, start - ox, strip)
                else:
                    store_strip(arena, y + c, out_pixel, sums, out_width)
                    row_sum = sum_range(row_sum, sums, 0, out_width)
                start += strip
            if step[f.SUMS] >= 0:
                store(arena, step[f.SUMS] + n * step[f.SUMS_IMAGE] + oy * channels + c, row_sum)
            block += LANES

    return row


_k3s1 = _row(3, 1, STRIP)
_k5s1, _k5s1_middle, _k5s1_narrow = (_row(5, 1, strip) for strip in STRIPS)
_k3s2, _k5s2 = _row(3, 2, STRIP_STRIDE2), _row(5, 2, STRIP_STRIDE2)


@njit(error_model="numpy")
def depthwise_row(  # type: ignore[no-untyped-def]
    arena, step, n, oy, x, mask, pixel, first, end
):
    """Output row oy of image n, channels from `first` to before `end`.

    Input row iy begins at x + (iy & mask) rows of pixels `pixel` apart: mask -1 where all rows are there.
    """
    if step[f.STRIDE] == 1:
        if step[f.SIZE] == 3:
            _k3s1(arena, step, n, oy, x, mask, pixel, first, end)
        elif step[f.CHUNK] == STRIPS[0]:
            _k5s1(arena, step, n, oy, x, mask, pixel, first, end)
        elif step[f.CHUNK] == STRIPS[1]:
            _k5s1_middle(arena, step, n, oy, x, mask, pixel, first, end)
        else:
            _k5s1_narrow(arena, step, n, oy, x, mask, pixel, first, end)
    elif step[f.SIZE] == 3:
        _k3s2(arena, step, n, oy, x, mask, pixel, first, end)
    else:
        _k5s2(arena, step, n, oy, x, mask, pixel, first, end)


@njit(error_model="numpy")
def depthwise(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Task: one row of output pixels of one image. CHUNK is the strip to use."""
    n, oy = task // step[f.OH], task % step[f.OH]
    depthwise_row(arena, step, n, oy, step[f.X] + n * step[f.X_IMAGE], -1, step[f.X_PIXEL], 0, step[f.C])
