"""Squeeze-and-excitation between a depthwise convolution and a projection, without touching the map again.

The depthwise step left the sums of every row of pixels. From them follow the means, the hidden layer and the gates; and
since the projection is linear, scaling its input channels is scaling the rows of its weights:

    gate[c] = sigmoid(b_e[c] + sum_r activation(b_r[r] + sum_c mean[c] w_r[c, r]) w_e[r, c])
    project'[c, :] = gate[c] * project[c, :]

so the next step runs on scaled weights, a few thousand numbers, instead of a scaled map.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.pointwise import finish
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import fma, horizontal_sum, load, sigmoid, splat, store


@njit(error_model="numpy")
def gate(arena: np.ndarray, step: np.ndarray, task: int) -> None:
    """Task: one image. SCRATCH holds C means (then gates) and HIDDEN + LANES hidden values for each image.

    The projection's weights are panels (see pointwise.py) of C rows each; their scaled copy goes to WEIGHTS.
    """
    channels, hidden = step[f.C], step[f.HIDDEN]
    mean = step[f.SCRATCH] + task * (channels + hidden + LANES)
    middle = mean + channels
    sums = step[f.SUMS] + task * step[f.SUMS_IMAGE]
    scale = np.float32(1.0) / np.float32(step[f.H] * step[f.W])
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        total = load(arena, sums + c)
        for y in range(1, step[f.SUMS_ROWS]):
            total = total + load(arena, sums + y * channels + c)
        store(arena, mean + c, total * scale)
        block += LANES

    for r in range(hidden):  # the reducing weights are stored (HIDDEN, C): one dot product a hidden unit
        weights = step[f.REDUCE] + r * channels
        product = splat(0.0, 1)
        whole = channels // LANES * LANES
        for c in range(0, whole, LANES):
            product = fma(load(arena, mean + c), load(arena, weights + c), product)
        value = arena[step[f.REDUCE_BIAS] + r] + horizontal_sum(product)
        for c in range(whole, channels):
            value += arena[mean + c] * arena[weights + c]
        store(arena, middle + r, finish(splat(value, 1), step[f.ACTIVATION], arena[step[f.BETA]]))

    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        total = load(arena, step[f.EXPAND_BIAS] + c)
        for r in range(hidden):
            total = fma(splat(arena[middle + r], 1), load(arena, step[f.EXPAND] + r * channels + c), total)
        store(arena, mean + c, sigmoid(total))
        block += LANES

    source, target = step[f.PROJECT], step[f.WEIGHTS] + task * step[f.WEIGHTS_IMAGE]
    for panel in range(step[f.FULL] + 1):
        row = LANES * (step[f.FULL_VECTORS] if panel < step[f.FULL] else step[f.REST_VECTORS])
        for c in range(channels):
            factor = splat(arena[mean + c], 1)
            for j in range(c * row, (c + 1) * row, LANES):
                store(arena, target + j, load(arena, source + j) * factor)
        source += channels * row
        target += channels * row
