"""Confidence maps -> keypoints (Section 3.1 of the paper; filter and threshold as in the release).

A keypoint is the centre of the largest value of its map. Otherwise than in real-time mode the maps are smoothed first, which
keeps single-pixel peaks from winning; in real-time mode a peak below 0.3 counts as no keypoint. That is the release's method
and the default. The others (refine.py) take the largest cell of the map as it is, and find the place between cells around it.
"""

from __future__ import annotations

import numpy as np

from epcore.pose.peaks import find_peaks, window
from epcore.pose.refine import METHODS, Method, refine

THRESHOLD = 0.3  # of the release's real-time mode
SIGMA = 1.0  # of the smoothing, pixels of the map
_SMOOTHING, _AS_IT_IS = window(SIGMA), np.ones(1)


def decode(maps: np.ndarray, *, method: Method = "release", real_time: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """maps (H,W,J) -> points (J,2) float64, scores (J,) float64. method: see `epcore.pose.refine`, "release" as above.

    points: x, y as fractions of the map's width and height, (0, 0) the outer corner of the first pixel; a missing keypoint
    (real-time mode only) is NaN, NaN. scores: the value at the peak of the maps searched, that is, after smoothing if there
    was any. Of equal peaks the first in reading order wins. A map that holds NaN or infinite values has no keypoint either:
    NaN, NaN, its score NaN. Raises ValueError for another number of axes, an empty map or an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"maps have shape {maps.shape}, expected (height, width, keypoints)")
    H, W, _ = maps.shape
    maps = maps.astype(maps.dtype if maps.dtype in (np.float32, np.float64) else np.float64, copy=False)
    smooth = method == "release" and not real_time
    peak, values = find_peaks(maps, _SMOOTHING if smooth else _AS_IT_IS)
    scores = values.astype(np.float64)
    points = np.stack([(peak % W + 0.5) / W, (peak // W + 0.5) / H], axis=1)
    if method != "release":
        points += refine(maps, peak, method) / (W, H)
    points[np.isnan(scores) | (real_time & (scores < THRESHOLD))] = np.nan
    return points, scores
