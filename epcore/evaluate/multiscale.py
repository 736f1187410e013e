"""Testing at several scales and mirrored: the maps are averaged, then decoded once (Section 4.2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from epcore.data.augment import Change, crop_matrix, invert, transform_points, warp
from epcore.pose.decode import decode
from epcore.pose.skeleton import FLIP_PERMUTATION

PredictMaps = Callable[[np.ndarray], np.ndarray]  # pictures (N,R,R,3) uint8 -> confidence maps (N,h,w,J)


def average_maps(
    predict_maps: PredictMaps,
    pixels: np.ndarray,
    square: tuple[float, float, float],
    resolution: int,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence maps of one person, averaged over scales and, if asked for, the mirrored picture.

    pixels (H,W,3) uint8. square: centre x, y and side of the crop, as from `crop_square`. At scale s the person is s times as
    large in the network's input. Every map is brought back to the frame of scale 1 (and unmirrored, left and right
    exchanged); where a scale does not see a place, the others alone count there, and the smallest scale sees all if it is at
    most 1. Returns maps (h,w,J) float32 and the matrix (2,3) from the picture to the frame of resolution x resolution pixels
    which they cover. Raises ValueError for scales that are not positive, or none.
    """
    if not scales or not min(scales) > 0:
        raise ValueError(f"scales is {tuple(scales)}, expected one or more positive factors")
    frame = crop_matrix(square, resolution)
    changes = [Change(mirrored, scale) for scale in scales for mirrored in ((False, True) if flip else (False,))]
    crops = np.stack([warp(pixels, crop_matrix(square, resolution, change), resolution) for change in changes])
    maps = np.asarray(predict_maps(crops), np.float32)
    if maps.ndim != 4 or len(maps) != len(changes) or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"predict_maps gave shape {maps.shape}, expected ({len(changes)}, size, size, keypoints)")

    size = maps.shape[1]
    total = np.zeros(maps.shape[1:], np.float32)
    weight = np.zeros((size, size, 1), np.float32)
    seen = np.ones((size, size, 1), np.float32)
    for change, crop_maps in zip(changes, maps, strict=True):
        if change.flip:
            crop_maps = crop_maps[:, ::-1][..., FLIP_PERMUTATION]
        if change.scale == 1:
            total += crop_maps
            weight += 1
            continue
        back = invert(crop_matrix((size / 2, size / 2, size), size, Change(scale=change.scale)))
        total += warp(np.ascontiguousarray(crop_maps), back, size)
        weight += warp(seen, back, size)
    return total / np.maximum(weight, 1e-6), frame


def locate(maps: np.ndarray, frame: np.ndarray, resolution: int, *, real_time: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Maps and matrix as from `average_maps` -> keypoints (J,2) in pixels of the picture, scores (J,); see `decode`."""
    points, scores = decode(maps, real_time=real_time)
    return transform_points(points * resolution, invert(frame)), scores
