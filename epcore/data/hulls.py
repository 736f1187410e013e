"""Outlines around points and discs on the screen: convex hulls, in pixels, float64."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from epcore.kernels.cpu.cache import cached

_compiled = partial(cached, nogil=True, error_model="numpy")


@_compiled
def hull(discs: np.ndarray, corners_per_disc: int) -> np.ndarray:
    """Convex hull of discs (D,3), each x, y, radius -> corners (K,2), in the order `polygon` and `torso` expect."""
    D = discs.shape[0]
    points = np.empty((D * corners_per_disc, 2))
    for d in range(D):
        for k in range(corners_per_disc):
            angle = 2 * math.pi * k / corners_per_disc
            points[d * corners_per_disc + k, 0] = discs[d, 0] + discs[d, 2] * math.cos(angle)
            points[d * corners_per_disc + k, 1] = discs[d, 1] + discs[d, 2] * math.sin(angle)
    corners: np.ndarray = convex_hull(points)
    return corners


@_compiled
def convex_hull(points: np.ndarray) -> np.ndarray:
    """points (N,2) -> corners (K,2) of their convex hull (Andrew's monotone chain)."""
    N = points.shape[0]
    order = np.argsort(points[:, 0] + 1e-7 * points[:, 1])
    chain = np.empty((2 * N, 2))
    count = 0
    for sweep in range(2):
        start = count
        for n in range(N):
            p = points[order[n if sweep == 0 else N - 1 - n]]
            while count >= start + 2:
                turn = (chain[count - 1, 0] - chain[count - 2, 0]) * (p[1] - chain[count - 2, 1]) - (
                    chain[count - 1, 1] - chain[count - 2, 1]
                ) * (p[0] - chain[count - 2, 0])
                if turn > 0:
                    break
                count -= 1
            chain[count] = p
            count += 1
        count -= 1
    return chain[:count][::-1].copy()
