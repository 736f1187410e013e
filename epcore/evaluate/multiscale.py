"""Testing at several scales and mirrored: the maps are averaged, then decoded once (Section 4.2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from epcore.pose.affine import crop_matrix, invert, transform_points, warp
from epcore.pose.averaging import average, changes
from epcore.pose.decode import decode

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
    large in the network's input; how maps become one: `average`. Returns maps (h,w,J) float32 and the matrix (2,3) from the
    picture to the frame of resolution x resolution pixels which they cover. Raises ValueError for scales that are not positive,
    or none.
    """
    looks = changes(scales, flip)
    crops = np.stack([warp(pixels, crop_matrix(square, resolution, change), resolution) for change in looks])
    maps = np.asarray(predict_maps(crops), np.float32)
    if maps.ndim != 4 or len(maps) != len(looks) or maps.shape[1] != maps.shape[2]:
        raise ValueError(f"predict_maps gave shape {maps.shape}, expected ({len(looks)}, size, size, keypoints)")
    return average(list(maps), looks), crop_matrix(square, resolution)


def locate(maps: np.ndarray, frame: np.ndarray, resolution: int, *, real_time: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Maps and matrix as from `average_maps` -> keypoints (J,2) in pixels of the picture, scores (J,); see `decode`."""
    points, scores = decode(maps, real_time=real_time)
    return transform_points(points * resolution, invert(frame)), scores
