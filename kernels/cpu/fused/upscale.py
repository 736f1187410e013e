"""Transposed convolution 4x4, stride 2, SAME: twice the size. One row of output pixels a task.

Output row 2i + 1 - d (d = 0, 1) sees input rows i (tap 2 - d) and i + 1 - 2d ... written out: with the crop of one row, output
row oy gathers the taps u with oy + 1 - u even, from input row (oy + 1 - u) / 2. Two rows and two columns of the kernel meet
each output pixel. In the release the kernels are diagonal (every channel for itself), which needs one multiply-add a
channel and tap instead of C of them; a dense kernel runs as a product over input channels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.simd import LANES, fma, load, splat, store


@njit(error_model="numpy")
def upscale(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Diagonal kernels: weights (4, 4, C)."""
    n, oy = task // step[f.OH], task % step[f.OH]
    channels, width = step[f.C], step[f.W]
    x = step[f.X] + n * step[f.X_IMAGE]
    y = step[f.Y] + n * step[f.Y_IMAGE] + oy * step[f.OW] * step[f.Y_PIXEL]
    odd = (oy + 1) % 2
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        bias = load(arena, step[f.BIAS] + c)
        for ox in range(step[f.OW]):
            total = bias
            for u in range(odd, 4, 2):
                iy = (oy + 1 - u) // 2
                if iy < 0 or iy >= step[f.H]:
                    continue
                for v in range((ox + 1) % 2, 4, 2):
                    ix = (ox + 1 - v) // 2
                    if ix < 0 or ix >= width:
                        continue
                    tap = load(arena, step[f.WEIGHTS] + (u * 4 + v) * channels + c)
                    total = fma(load(arena, x + (iy * width + ix) * step[f.X_PIXEL] + c), tap, total)
            store(arena, y + ox * step[f.Y_PIXEL] + c, total)
        block += LANES


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
