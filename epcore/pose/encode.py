"""What the network is trained to output: confidence maps and part affinity fields.

Confidence map of a keypoint G (Equation 4; no factor 2): T(P) = exp(-||P - G||^2 / sigma^2), P a pixel's centre.
Field of a limb from A to B: the unit vector (B - A) / ||B - A|| where P projects onto the limb and lies within half the
limb's width of it, else 0 (Section 3.1, after OpenPose).

Lengths, sigma and the limb's width too, are pixels of the network's input (R x R): a map of stride s sees all of them divided
by s, so every output has the same shape on the picture. With several persons the largest confidence counts, and fields that
overlap are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from epcore.kernels.cpu.cache import cached
from epcore.pose.skeleton import LIMBS

LIMB_WIDTH = 16.0  # pixels of the input: two of a map of stride 8, as OpenPose has it. The paper gives no figure.
LOW_STRIDE = 8  # of pafs, confs2, confs3

_LIMBS = np.array(LIMBS)
_compiled = partial(cached, nogil=True, error_model="numpy", fastmath=False)


@dataclass(frozen=True)
class Targets:
    """Maps of a batch, float32: pafs (N,R/8,R/8,2L), confs (N,R/8,R/8,J), upscaled (N,R,R,J) or None if not asked for.

    Masks, float32 0 or 1, ready to broadcast: confs_mask (N,1,1,J) is 0 for keypoints whose place is unknown, pafs_mask
    (N,1,1,2L) for limbs with such an end.
    """

    pafs: np.ndarray
    confs: np.ndarray
    upscaled: np.ndarray | None
    pafs_mask: np.ndarray
    confs_mask: np.ndarray


def render_targets(
    persons: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]],
    resolution: int,
    sigma: float,
    *,
    upscaled: bool = True,
    limb_width: float = LIMB_WIDTH,
) -> Targets:
    """Targets of a batch.

    persons: for each picture its persons, the one to be found first, each as keypoints (J,2) float64 in pixels of the input
    and known (J,) bool. The masks follow the first person's. sigma: as above. Raises ValueError for a picture without
    persons, a resolution that is not a multiple of 8, or a sigma or width that is not positive.
    """
    if resolution < LOW_STRIDE or resolution % LOW_STRIDE:
        raise ValueError(f"resolution is {resolution}, expected a positive multiple of {LOW_STRIDE}")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"sigma is {sigma}, expected a positive number of input pixels")
    if not limb_width > 0:
        raise ValueError(f"limb_width is {limb_width}, expected a positive number of input pixels")
    N, J, L = len(persons), len(persons[0][0][0]) if persons and persons[0] else 0, len(LIMBS)
    low = resolution // LOW_STRIDE
    pafs = np.zeros((N, low, low, 2 * L), np.float32)
    confs = np.empty((N, low, low, J), np.float32)
    high = np.empty((N, resolution, resolution, J), np.float32) if upscaled else None
    confs_mask = np.empty((N, 1, 1, J), np.float32)
    pafs_mask = np.empty((N, 1, 1, 2 * L), np.float32)
    for n, present in enumerate(persons):
        if not present:
            raise ValueError(f"picture {n} of the batch has no person, expected at least one")
        points = np.array([keypoints for keypoints, _ in present], np.float64)
        known = np.array([known for _, known in present], np.bool_)
        _confidence(points / LOW_STRIDE, known, sigma / LOW_STRIDE, confs[n])
        if high is not None:
            _confidence(points, known, sigma, high[n])
        _affinity(points / LOW_STRIDE, known, limb_width / LOW_STRIDE, _LIMBS, pafs[n])
        confs_mask[n, 0, 0] = known[0]
        pafs_mask[n, 0, 0] = np.repeat(known[0][_LIMBS].all(axis=1), 2)
    return Targets(pafs, confs, high, pafs_mask, confs_mask)


def confidence_maps(points: np.ndarray, known: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """points (P,J,2) float64 pixels of the map, known (P,J) bool, sigma in pixels of the map -> (size,size,J) float32."""
    maps = np.empty((size, size, points.shape[1]), np.float32)
    _confidence(points, known, sigma, maps)
    return maps


def affinity_fields(points: np.ndarray, known: np.ndarray, size: int, width: float) -> np.ndarray:
    """points (P,J,2) float64 pixels of the map, known (P,J) bool, width in pixels of the map -> (size,size,2L) float32."""
    fields = np.zeros((size, size, 2 * len(LIMBS)), np.float32)
    _affinity(points, known, width, _LIMBS, fields)
    return fields


@_compiled
def _confidence(points: np.ndarray, known: np.ndarray, sigma: float, maps: np.ndarray) -> None:
    """The Gaussian is the product of one factor per row and one per column: exp is taken 2 S times a keypoint, not S^2."""
    P, J = known.shape
    S = maps.shape[0]
    rows = np.zeros((P, S, J), np.float32)
    columns = np.zeros((P, S, J), np.float32)
    for p in range(P):
        for j in range(J):
            if not known[p, j]:
                continue
            for s in range(S):
                rows[p, s, j] = math.exp(-(((s + 0.5 - points[p, j, 1]) / sigma) ** 2))
                columns[p, s, j] = math.exp(-(((s + 0.5 - points[p, j, 0]) / sigma) ** 2))
    for i in range(S):
        for k in range(S):
            for j in range(J):
                maps[i, k, j] = rows[0, i, j] * columns[0, k, j]
    for p in range(1, P):
        for i in range(S):
            for k in range(S):
                for j in range(J):
                    maps[i, k, j] = max(maps[i, k, j], rows[p, i, j] * columns[p, k, j])


@_compiled
def _affinity(points: np.ndarray, known: np.ndarray, width: float, limbs: np.ndarray, fields: np.ndarray) -> None:
    """Adds each person's field to `fields`, which starts at zero, and divides by how many persons' limbs cover a pixel."""
    P, S = known.shape[0], fields.shape[0]
    half = width / 2
    count = np.zeros((S, S), np.int32)
    for limb in range(limbs.shape[0]):
        start, end = limbs[limb]
        count[:] = 0
        for p in range(P):
            if not (known[p, start] and known[p, end]):
                continue
            ax, ay = points[p, start]
            dx, dy = points[p, end, 0] - ax, points[p, end, 1] - ay
            length = math.hypot(dx, dy)
            if length < 1e-9:
                continue
            dx, dy = dx / length, dy / length
            top, bottom = _span(ay, points[p, end, 1], half, S)
            left, right = _span(ax, points[p, end, 0], half, S)
            for i in range(top, bottom):
                for k in range(left, right):
                    x, y = k + 0.5 - ax, i + 0.5 - ay
                    along, across = x * dx + y * dy, abs(x * dy - y * dx)
                    if 0 <= along <= length and across <= half:
                        fields[i, k, 2 * limb] += np.float32(dx)
                        fields[i, k, 2 * limb + 1] += np.float32(dy)
                        count[i, k] += 1
        if P > 1:
            for i in range(S):
                for k in range(S):
                    if count[i, k] > 1:
                        fields[i, k, 2 * limb] /= count[i, k]
                        fields[i, k, 2 * limb + 1] /= count[i, k]


@_compiled
def _span(a: float, b: float, margin: float, size: int) -> tuple[int, int]:
    """Pixels whose centres can lie within margin of the range from a to b; limbs far outside give an empty range."""
    low = min(max(min(a, b) - margin - 1, 0.0), float(size))
    high = max(min(max(a, b) + margin + 1, float(size)), 0.0)
    return math.floor(low), math.ceil(high)
