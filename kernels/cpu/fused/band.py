"""Expansion and depthwise convolution together, a band of output rows at a time, so that the wide map between them never
exists.

The map that an expansion writes is the largest of its block (six times the block's input), too large for the cache of a core
at the first, high-resolution blocks. Here a task expands a row of pixels into a ring of RING rows, which stays in the cache,
just before the depthwise convolution first needs it. Rows that two bands share are expanded by both.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.depthwise import depthwise_row
from epcore.kernels.cpu.fused.pointwise import product


@njit(error_model="numpy")
def band(arena: np.ndarray, step: np.ndarray, task: int, thread: int) -> None:
    """Task: ROWS rows of output pixels of one image.

    The step is a depthwise one; its input X is the rings, one a thread. The expansion reads A, of HIDDEN channels; its weights
    are EXPAND (panels, see pointwise.py) and EXPAND_BIAS, its activation the same. RING is a power of two.
    """
    bands = (step[f.OH] + step[f.ROWS] - 1) // step[f.ROWS]
    n, first = task // bands, task % bands * step[f.ROWS]
    width, channels, mask = step[f.W], step[f.C], step[f.RING] - 1
    ring = step[f.X] + thread * step[f.RING] * width * channels
    source = step[f.A] + n * step[f.A_IMAGE]
    row = max(first * step[f.STRIDE] - step[f.TOP], 0)
    for oy in range(first, min(first + step[f.ROWS], step[f.OH])):
        while row < min(oy * step[f.STRIDE] - step[f.TOP] + step[f.SIZE], step[f.H]):
            product(
                arena, step, width, source + row * width * step[f.A_PIXEL], step[f.A_PIXEL], step[f.HIDDEN],
                step[f.EXPAND], step[f.EXPAND_BIAS], ring + (row & mask) * width * channels, channels,
                -1, 0, step[f.ACTIVATION], arena[step[f.BETA]],
            )  # fmt: skip
            row += 1
        depthwise_row(arena, step, n, oy, ring, mask)
