"""Affine maps of pictures and maps: crop, flip, scale and rotation are a single matrix, and one resampling.

A matrix M (2,3) maps pixels of the picture to pixels of the input: (x', y') = M (x, y, 1). Keypoints go through the same
matrix as the picture, so they agree to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from epcore.kernels.cpu.cache import cached

_compiled = partial(cached, nogil=True, error_model="numpy")


@dataclass(frozen=True)
class Change:
    """One draw: flip; scale factor; angle in radians, positive turns clockwise on the screen."""

    flip: bool = False
    scale: float = 1.0
    angle: float = 0.0


def crop_matrix(square: tuple[float, float, float], resolution: int, change: Change = Change()) -> np.ndarray:
    """(2,3) float64 that brings a square (centre x, y, side; pixels of the picture) to resolution x resolution pixels.

    The change acts around the square's centre. Raises ValueError for an empty square or resolution.
    """
    x, y, side = square
    if not (math.isfinite(side) and side > 0 and resolution > 0):
        raise ValueError(f"cannot bring a square of {side:g} pixels to {resolution}: both must be positive")
    factor = change.scale * resolution / side
    c, s = factor * math.cos(change.angle), factor * math.sin(change.angle)
    linear = np.array([[c, -s], [s, c]])
    if change.flip:
        linear[:, 0] *= -1  # mirrored first, then turned
    offset = resolution / 2 - linear @ (x, y)
    return np.concatenate([linear, offset[:, None]], axis=1)


def invert(matrix: np.ndarray) -> np.ndarray:
    """The affine matrix (2,3) of the way back. Raises ValueError where there is none."""
    linear = matrix[:, :2]
    if abs(np.linalg.det(linear)) < 1e-12:
        raise ValueError("matrix has no inverse: it maps the picture onto a line")
    back = np.linalg.inv(linear)
    return np.concatenate([back, -back @ matrix[:, 2:]], axis=1)


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """points (...,2) -> (...,2) float64. NaN stays NaN."""
    moved: np.ndarray = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def warp(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """picture (H,W,C), uint8 or float32, through matrix (2,3) -> (size,size,C) of the same dtype.

    Every pixel is the mean of k x k linear interpolations spread evenly over the area it comes from, k the factor of
    shrinking rounded up: without that, shrinking would alias. Beyond the picture's border is black (0). uint8 is rounded.
    Raises TypeError for another dtype, ValueError for a matrix without inverse.
    """
    if picture.dtype not in (np.uint8, np.float32):
        raise TypeError(f"picture has dtype {picture.dtype}, expected uint8 or float32")
    if picture.ndim != 3 or 0 in picture.shape:
        raise ValueError(f"picture has shape {picture.shape}, expected (height, width, channels), none of them 0")
    back = invert(matrix)
    shrinking = math.sqrt(abs(np.linalg.det(back[:, :2])))
    taps = max(1, math.ceil(shrinking - 1e-6))
    output = np.empty((size, size, picture.shape[2]), picture.dtype)
    _warp(np.ascontiguousarray(picture), back, taps, 0.5 if picture.dtype == np.uint8 else 0.0, output)
    return output


@_compiled
def _warp(picture: np.ndarray, back: np.ndarray, taps: int, rounding: float, output: np.ndarray) -> None:
    """rounding: 0.5 where the output's type cuts off fractions."""
    H, W, C = picture.shape
    total = np.empty(C, np.float32)
    weight = np.float32(1 / (taps * taps))
    for i in range(output.shape[0]):
        for j in range(output.shape[1]):
            total[:] = 0
            for m in range(taps):
                for n in range(taps):
                    x, y = j + (n + 0.5) / taps, i + (m + 0.5) / taps
                    u = back[0, 0] * x + back[0, 1] * y + back[0, 2] - 0.5
                    v = back[1, 0] * x + back[1, 1] * y + back[1, 2] - 0.5
                    if not (-1 < u < W and -1 < v < H):
                        continue
                    left, top = math.floor(u), math.floor(v)
                    fx, fy = np.float32(u - left), np.float32(v - top)
                    for dy in range(2):
                        row = top + dy
                        if row < 0 or row >= H:
                            continue
                        share = fy if dy else 1 - fy
                        for dx in range(2):
                            column = left + dx
                            if column < 0 or column >= W:
                                continue
                            part = weight * share * (fx if dx else 1 - fx)
                            for c in range(C):
                                total[c] += part * picture[row, column, c]
            for c in range(C):
                output[i, j, c] = total[c] + np.float32(rounding)
