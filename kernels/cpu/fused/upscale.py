"""Transposed convolution 4x4, stride 2, SAME: twice the size. One row of output pixels a task.

With the crop of one row, output row oy gathers the taps u with oy + 1 - u even, from input row (oy + 1 - u) / 2; columns
likewise. Two rows and two columns of the kernel meet each output pixel. In the release the kernels are diagonal (every
channel for itself), which needs one multiply-add a channel and tap instead of C of them; a dense kernel runs as a product
over input channels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import fma, load, splat, store


@njit(error_model="numpy")
def upscale(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Diagonal kernels: weights (4, 4, C).

    Between input pixels i and i + 1 lie output pixels 2i + 1 and 2i + 2; the taps of two input rows a and b stay in registers.
    Where one of the rows is outside the map, its taps are zero and it stands for its neighbour.
    """
    n, oy = task // step[f.OH], task % step[f.OH]
    channels, width, pixel, out = step[f.C], step[f.W], step[f.X_PIXEL], step[f.Y_PIXEL]
    x = step[f.X] + n * step[f.X_IMAGE]
    y = step[f.Y] + n * step[f.Y_IMAGE] + oy * step[f.OW] * out
    u, row = (oy + 1) % 2, (oy + 1) // 2  # row a meets tap row u, row b above it tap row u + 2
    inside_a, inside_b = np.float32(row < step[f.H]), np.float32(row > 0)
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        bias = load(arena, step[f.BIAS] + c)
        a0, a1, a2, a3 = _taps(arena, step, u, c, inside_a)
        b0, b1, b2, b3 = _taps(arena, step, u + 2, c, inside_b)
        xa = x + min(row, step[f.H] - 1) * width * pixel + c
        xb = x + max(row - 1, 0) * width * pixel + c
        left_a, left_b = load(arena, xa), load(arena, xb)
        store(arena, y + c, fma(left_b, b1, fma(left_a, a1, bias)))
        for i in range(1, width):
            right_a, right_b = load(arena, xa + i * pixel), load(arena, xb + i * pixel)
            odd = fma(left_b, b2, fma(right_b, b0, fma(left_a, a2, fma(right_a, a0, bias))))
            even = fma(left_b, b3, fma(right_b, b1, fma(left_a, a3, fma(right_a, a1, bias))))
            store(arena, y + (2 * i - 1) * out + c, odd)
            store(arena, y + 2 * i * out + c, even)
            left_a, left_b = right_a, right_b
        store(arena, y + (2 * width - 1) * out + c, fma(left_b, b2, fma(left_a, a2, bias)))
        block += LANES


@njit(error_model="numpy")
def _taps(arena, step, u, c, inside):  # type: ignore[no-untyped-def]
    """The four taps of kernel row u, times 1 or 0."""
    at = step[f.WEIGHTS] + u * 4 * step[f.C] + c
    return (
        inside * load(arena, at),
        inside * load(arena, at + step[f.C]),
        inside * load(arena, at + 2 * step[f.C]),
        inside * load(arena, at + 3 * step[f.C]),
    )


@njit(error_model="numpy")
def upscale_dense(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Any kernels: weights (4, 4, C, C), input channel before output channel."""
    n, oy = task // step[f.OH], task % step[f.OH]
    channels, width = step[f.C], step[f.W]
    x = step[f.X] + n * step[f.X_IMAGE]
    y = step[f.Y] + n * step[f.Y_IMAGE] + oy * step[f.OW] * step[f.Y_PIXEL]
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        bias = load(arena, step[f.BIAS] + c)
        for ox in range(step[f.OW]):
            total = bias
            for u in range((oy + 1) % 2, 4, 2):
                iy = (oy + 1 - u) // 2
                if iy < 0 or iy >= step[f.H]:
                    continue
                for v in range((ox + 1) % 2, 4, 2):
                    ix = (ox + 1 - v) // 2
                    if ix < 0 or ix >= width:
                        continue
                    pixel = x + (iy * width + ix) * step[f.X_PIXEL]
                    weights = step[f.WEIGHTS] + (u * 4 + v) * channels * channels + c
                    for k in range(channels):
                        total = fma(splat(arena[pixel + k], 1), load(arena, weights + k * channels), total)
            store(arena, y + ox * step[f.Y_PIXEL] + c, total)
        block += LANES
