"""What is done to every pixel of a canvas: uneven ground, blur, and development from light to grey levels.

canvas (S,S,3) float32, 0..1, as `paint` has it. Lengths are pixels.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from epcore.kernels.cpu.cache import cached

_compiled = partial(cached, nogil=True, error_model="numpy")


@_compiled
def ground(canvas: np.ndarray, grid: np.ndarray, weight: float) -> None:
    """Add weight times grid (G,G,3), stretched over the canvas with linear interpolation."""
    S, T = canvas.shape[0], canvas.shape[1]
    G = grid.shape[0] - 1
    row = np.empty((G + 1, 3), np.float32)
    for i in range(S):
        y = (i + 0.5) / S * G
        above = min(int(y), G - 1)
        for g in range(G + 1):
            for c in range(3):
                row[g, c] = weight * (grid[above, g, c] + (grid[above + 1, g, c] - grid[above, g, c]) * (y - above))
        for j in range(T):
            x = np.float32((j + 0.5) / T * G)
            before = min(int(x), G - 1)
            share = x - np.float32(before)
            for c in range(3):
                canvas[i, j, c] += row[before, c] + (row[before + 1, c] - row[before, c]) * share


@_compiled
def blur(canvas: np.ndarray, sigma: float) -> None:
    """Gaussian blur in place, mirrored at the border's pixels' outer edge; sigma in pixels."""
    radius = int(3 * sigma + 1)
    weights = np.empty(radius + 1, np.float32)
    for k in range(radius + 1):
        weights[k] = math.exp(-0.5 * (k / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    for axis in range(2):
        lines, length = (canvas.shape[0], canvas.shape[1]) if axis == 0 else (canvas.shape[1], canvas.shape[0])
        line = np.empty((length + 2 * radius, 3), np.float32)
        for n in range(lines):
            source = canvas[n] if axis == 0 else canvas[:, n]
            for m in range(-radius, length + radius):
                inside = -1 - m if m < 0 else (2 * length - 1 - m if m >= length else m)
                line[m + radius] = source[min(max(inside, 0), length - 1)]
            for m in range(length):
                for c in range(3):
                    total = weights[0] * line[m + radius, c]
                    for k in range(1, radius + 1):
                        total += weights[k] * (line[m + radius - k, c] + line[m + radius + k, c])
                    source[m, c] = total


@_compiled
def develop(canvas: np.ndarray, noise: np.ndarray, noise_level: float, gain: np.ndarray, gamma: float) -> np.ndarray:
    """Light to grey levels: (canvas * gain) ** gamma + noise, uint8. gain (3,): of the channels."""
    S, T, C = canvas.shape
    picture = np.empty((S, T, C), np.uint8)
    table = np.empty(1025, np.float32)
    for k in range(1025):
        table[k] = (k / 1024) ** gamma * 255
    for i in range(S):
        for j in range(T):
            for c in range(C):
                value = min(1.0, max(0.0, canvas[i, j, c] * gain[c]))
                level = table[int(value * 1024)] + noise_level * noise[i, j, c]
                picture[i, j, c] = np.uint8(min(255.0, max(0.0, level + 0.5)))
    return picture
