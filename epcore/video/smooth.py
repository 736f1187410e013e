"""The One-Euro filter: steady where the person stands still, quick where it moves (Casiez, Roussel, Vogel, CHI 2012).

A low-pass filter of first order for each coordinate, whose cut-off frequency rises with its speed:

    x'_i = x'_{i-1} + a(f) (x_i - x'_{i-1})            a(f) = 1 / (1 + 1 / (2 pi f dt))
    f    = cutoff + slope * |v'_i|                       v'   = the speed, itself filtered at 1 Hz

Speeds are in sides of the person's square a second, so that the same parameters suit people near and far. dt is the time
between the two frames, whatever the film's rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from epcore.pose.predict import Pose

SPEED_CUTOFF = 1.0  # Hz, as in the paper
GAP = 0.5  # s; after that long without a keypoint its filter begins anew


@dataclass
class OneEuro:
    """cutoff: Hz, of a keypoint that stands still. slope: Hz by which it rises for a side of the person's square a second.

    Raises ValueError for a cutoff that is not positive or a negative slope.
    """

    cutoff: float = 2.0
    slope: float = 20.0
    _places: np.ndarray | None = field(default=None, repr=False)  # (J,2), NaN where there is none
    _speeds: np.ndarray | None = field(default=None, repr=False)
    _times: np.ndarray | None = field(default=None, repr=False)  # (J,)

    def __post_init__(self) -> None:
        if not (0 < self.cutoff < math.inf and 0 <= self.slope < math.inf):
            raise ValueError(f"cutoff and slope are {self.cutoff:g} and {self.slope:g}, expected above 0 and at least 0")

    def reset(self) -> None:
        """What comes next has nothing to do with what was before: a cut."""
        self._places = self._speeds = self._times = None

    def smooth(self, pose: Pose, time: float) -> Pose:
        """The pose with its keypoints filtered, missing ones missing. time: s, later than that of the call before."""
        side = float(max(pose.box.width, pose.box.height)) if pose.box else float(max(pose.width, pose.height))
        places = self.filter(pose.points, time, side)
        points = tuple(
            point if np.isnan(place).any() else replace(point, x=float(place[0]), y=float(place[1]))
            for point, place in zip(pose.keypoints, places, strict=True)
        )
        return replace(pose, keypoints=points)

    def filter(self, points: np.ndarray, time: float, side: float) -> np.ndarray:
        """points (J,2) pixels, NaN where missing; side: of the person's square, pixels -> (J,2)."""
        if self._places is None or self._speeds is None or self._times is None:
            self._places = np.full(points.shape, np.nan)
            self._speeds, self._times = np.zeros(points.shape), np.full(len(points), -math.inf)
        here = ~np.isnan(points).any(axis=1)
        known = here & ~np.isnan(self._places).any(axis=1) & (time - self._times <= GAP)
        new = here & ~known
        self._places[new], self._speeds[new] = points[new], 0
        dt = (time - self._times[known])[:, None]
        speeds = (points[known] - self._places[known]) / dt
        self._speeds[known] += _share(SPEED_CUTOFF, dt) * (speeds - self._speeds[known])
        cutoff = self.cutoff + self.slope * np.abs(self._speeds[known]) / side
        self._places[known] += _share(cutoff, dt) * (points[known] - self._places[known])
        self._times[here] = time
        return np.where(here[:, None], self._places, np.nan)


def _share(cutoff: np.ndarray | float, dt: np.ndarray) -> np.ndarray:
    """How much of a step is taken."""
    share: np.ndarray = 1 / (1 + 1 / (2 * math.pi * cutoff * dt))
    return share
