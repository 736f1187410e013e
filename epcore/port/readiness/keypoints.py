"""How far rounding moves keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from epcore.pose.decode import THRESHOLD, decode
from epcore.pose.preprocess import Geometry
from epcore.pose.skeleton import KEYPOINTS


@dataclass
class Decoded:
    """Keypoints of all pictures, a picture an entry: points (J,2), fractions of the map, NaN where a map is no number;
    scores (J,)."""

    points: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)

    def add(self, maps: np.ndarray) -> None:
        """maps (1,H,W,J)."""
        points, scores = decode(np.nan_to_num(maps[0]))
        lost = ~np.isfinite(maps).all(axis=(0, 1, 2))
        points[lost] = scores[lost] = np.nan
        self.points.append(points)
        self.scores.append(scores)


@dataclass(frozen=True)
class Shift:
    """Of one experiment's keypoints against float32's.

    largest, mean: distances in pixels of the network's input. in_picture: the largest in pixels of the pictures. found: the
    largest, network's pixels, of keypoints that score at least `THRESHOLD` in float32; None if none does. picture, keypoint:
    where the largest is. moved: how many moved at all. lost: how many have no place, their maps being no numbers; the
    distances leave them out and are None if all are lost.
    """

    largest: float | None
    mean: float | None
    in_picture: float | None
    found: float | None
    picture: int | None
    keypoint: str | None
    moved: int
    lost: int
    count: int


def shift(exact: Decoded, rounded: Decoded, geometries: Sequence[Geometry]) -> Shift:
    """geometries: how each picture lies in the network's input."""
    places = zip(rounded.points, exact.points, geometries, strict=True)
    distances, pictures = [], []
    for point, before, geometry in places:
        distances.append(np.hypot(*((point - before) * geometry.size).T))
        pictures.append(np.hypot(*(geometry.to_picture(point) - geometry.to_picture(before)).T))
    distance, in_picture = np.stack(distances), np.stack(pictures)  # (P,J)
    known = ~np.isnan(distance)
    lost, moved = int((~known).sum()), int((distance > 0).sum())
    if not known.any():
        return Shift(None, None, None, None, None, None, moved, lost, known.size)
    picture, joint = np.unravel_index(np.nanargmax(distance), distance.shape)
    found = distance[known & (np.stack(exact.scores) >= THRESHOLD)]
    return Shift(
        float(distance[picture, joint]),
        float(np.nanmean(distance)),
        float(np.nanmax(in_picture)),
        float(found.max()) if found.size else None,
        int(picture),
        KEYPOINTS[joint],
        moved,
        lost,
        known.size,
    )
