"""Expansion and depthwise convolution together, a band of output rows and a group of channels at a time, so that the wide map
between them never exists.

The map that an expansion writes is the largest of its block (six times the block's input), too large for the cache of a core
at the first, high-resolution blocks and in the passes of the large variants. Here a task expands a row of pixels into a ring of
RING rows, which stays in the cache, just before the depthwise convolution first needs it. Rows that two bands share are
expanded by both; groups of channels share nothing but the input they read.

Rings of different threads lie RING_SPACE rows apart. Processors notice that a ring is read row after row and fetch rows ahead,
beyond its end; if the ring of another thread lies there, two cores take every line from each other. (8 rows were too few for
all of the effect, more than 16 changed nothing.)
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.depthwise import depthwise_row
from epcore.kernels.cpu.fused.pointwise import panel_count, product
from epcore.kernels.cpu.processor import LANES, RING_SPACE


@njit(error_model="numpy")
def band(arena: np.ndarray, step: np.ndarray, task: int, thread: int) -> None:
    """Task: ROWS rows of output pixels of one image, the columns of GROUP panels.

    The step is a depthwise one; its input X is the rings, one a thread, each as wide as a group. The expansion reads A, of
    HIDDEN channels; its weights are EXPAND (panels, see pointwise.py) and EXPAND_BIAS, its activation the same. RING is a power
    of two.
    """
    count = panel_count(step)
    panels = step[f.GROUP] if step[f.GROUP] else count
    groups = (count + panels - 1) // panels
    bands = (step[f.OH] + step[f.ROWS] - 1) // step[f.ROWS]
    n, first = task // groups // bands, task // groups % bands * step[f.ROWS]
    panel = task % groups * panels
    last_panel = min(panel + panels, count)
    channel, end, pixel = 0, step[f.C], step[f.X_PIXEL]
    if step[f.GROUP]:  # then all panels are full
        columns = step[f.FULL_VECTORS] * LANES
        channel, end = panel * columns, last_panel * columns
    width, mask = step[f.W], step[f.RING] - 1
    ring = step[f.X] + thread * (step[f.RING] + RING_SPACE) * width * pixel
    source, source_pixel = step[f.A] + n * step[f.A_IMAGE], step[f.A_PIXEL]
    row = max(first * step[f.STRIDE] - step[f.TOP], 0)
    for oy in range(first, min(first + step[f.ROWS], step[f.OH])):
        while row < min(oy * step[f.STRIDE] - step[f.TOP] + step[f.SIZE], step[f.H]):
            x, y = source + row * width * source_pixel, ring + (row & mask) * width * pixel - channel
            product(
                arena, step, panel, last_panel, width, x, source_pixel, step[f.HIDDEN],
                step[f.EXPAND], step[f.EXPAND_BIAS], y, pixel, -1, 0, step[f.ACTIVATION], arena[step[f.BETA]],
            )  # fmt: skip
            row += 1
        depthwise_row(arena, step, n, oy, ring - channel, mask, pixel, channel, end)
