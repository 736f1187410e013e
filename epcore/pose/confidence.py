"""How sure a score is: what share of keypoints with that score lie where they should.

A network's scores are no probabilities, and each training has its own scale: the published weights are right at 0.5, with
which those that come with epcore still guess. A `Calibration` holds curves for one training, measured on synthetic figures
from easy to hopeless, a keypoint being right within half a head's size (PCKh@50): `python bench/reliability.py` prints them,
docs/people.md draws them. Published weights never saw synthetic figures; on photographs shares may differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Share that is right against the score: straight lines between points, both rising."""

    scores: tuple[float, ...]
    shares: tuple[float, ...]

    def share(self, score: float) -> float:
        """Of those with this score, 0 to 1; beyond the points as at the last of them. NaN stays NaN."""
        return float(np.interp(score, self.scores, self.shares))

    def score(self, share: float) -> float:
        """The lowest score of which so many are right."""
        return float(np.interp(share, self.shares, self.scores))


@dataclass(frozen=True)
class Calibration:
    """Of one training's weights. keypoint: share of keypoints that are right, by their own score. pose: share of a pose's
    keypoints that are right, by `Pose.score`.
    """

    keypoint: Curve
    pose: Curve

    @property
    def sure_keypoint(self) -> float:
        """From this score on a keypoint is rather right than wrong."""
        return round(self.keypoint.score(0.5), 2)

    @property
    def sure_pose(self) -> float:
        """From this score on a pose has rather a person under it than not: half of its keypoints are right."""
        return round(self.pose.score(0.5), 2)


# The authors' RT; their I is right by half from 0.37 (keypoints) and 0.34 (poses) on.
PUBLISHED = Calibration(
    keypoint=Curve(
        (0.027, 0.051, 0.073, 0.1, 0.134, 0.18, 0.242, 0.312, 0.385, 0.445, 0.49, 0.537),
        (0.034, 0.043, 0.065, 0.103, 0.146, 0.23, 0.344, 0.528, 0.68, 0.84, 0.913, 0.958),
    ),
    pose=Curve(
        (0.049, 0.07, 0.09, 0.113, 0.148, 0.186, 0.24, 0.311, 0.373, 0.418, 0.461, 0.501),
        (0.024, 0.025, 0.056, 0.091, 0.146, 0.228, 0.367, 0.611, 0.698, 0.805, 0.888, 0.927),
    ),
)
# Those that come with epcore.
SHIPPED = Calibration(
    keypoint=Curve(
        (0.151, 0.277, 0.374, 0.474, 0.576, 0.67, 0.73, 0.761, 0.78, 0.793, 0.807, 0.83),
        (0.052, 0.086, 0.136, 0.221, 0.378, 0.667, 0.88, 0.958, 0.989, 0.99, 0.996, 0.996),
    ),
    pose=Curve(
        (0.251, 0.332, 0.39, 0.457, 0.549, 0.634, 0.704, 0.747, 0.77, 0.784, 0.793, 0.801),
        (0.054, 0.072, 0.085, 0.155, 0.412, 0.738, 0.895, 0.971, 0.975, 0.997, 1.0, 1.0),
    ),
)
