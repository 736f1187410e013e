"""How sure a score is: what share of keypoints with that score lie where they should.

A network's scores are no probabilities, and each training has its own scale: the published weights are right at 0.5, with
which those that come with epcore still guess. A `Calibration` holds curves for one training, measured on synthetic figures
from easy to hopeless, a keypoint being right within half a head's size (PCKh@50): `python bench/reliability.py` prints them,
docs/people.md draws them. Synthetic figures are not what the published weights were trained on; on photographs they are surer.
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


PUBLISHED = Calibration(Curve((0.2, 0.4), (0.0, 1.0)), Curve((0.2, 0.4), (0.0, 1.0)))
SHIPPED = Calibration(Curve((0.5, 0.7), (0.0, 1.0)), Curve((0.5, 0.7), (0.0, 1.0)))
