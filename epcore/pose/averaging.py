"""Confidence maps of several looks at the same square, mirrored or nearer and farther, as one (Section 4.2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from epcore.pose.affine import Change, crop_matrix, invert, warp
from epcore.pose.skeleton import FLIP_PERMUTATION


def changes(scales: Sequence[float], flip: bool) -> list[Change]:
    """Every scale, and with flip every scale mirrored too. Raises ValueError for scales that are not positive, or none."""
    if not scales or not min(scales) > 0 or not np.isfinite(scales).all():
        raise ValueError(f"scales is {tuple(scales)}, expected one or more positive factors")
    return [Change(mirrored, scale) for scale in scales for mirrored in ((False, True) if flip else (False,))]


def average(maps: Sequence[np.ndarray], looks: Sequence[Change]) -> np.ndarray:
    """maps: one (size,size,J) float32 a look -> (size,size,J) float32, in the frame of scale 1, not mirrored.

    At scale s everything is s times as large in the look's maps. Every map is brought back to scale 1 (and unmirrored, left and
    right exchanged); where a scale does not see a place, the others alone count there, and the smallest scale sees all if it is
    at most 1.
    """
    total = np.zeros(maps[0].shape, np.float32)
    size = len(total)
    weight = np.zeros((size, size, 1), np.float32)
    for change, seen in zip(looks, maps, strict=True):
        if change.flip:
            seen = seen[:, ::-1][..., FLIP_PERMUTATION]
        if change.scale == 1:
            total += seen
            weight += 1
            continue
        back = invert(crop_matrix((size / 2, size / 2, size), size, Change(scale=change.scale)))
        total += warp(np.ascontiguousarray(seen), back, size)
        weight += warp(np.ones((size, size, 1), np.float32), back, size)
    return total / np.maximum(weight, 1e-6)
