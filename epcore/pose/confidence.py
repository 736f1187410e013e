"""How sure a score is: what share of keypoints with that score lie where they should.

A network's scores are no probabilities, and each training has its own scale: the published weights are right at 0.5, with
which those that come with epcore still guess. `Calibration` is a curve for each, fitted to synthetic figures from easy to
hopeless, a keypoint being right within half a head's size (PCKh@50). `python bench/reliability.py` measures and fits; its table
and picture are in docs/people.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """Share that is right as a function of the score: 1 / (1 + exp(-(score - middle) / width)).

    middle: the score at which as many are right as wrong. width: how far from it that takes to change.
    """

    middle: float
    width: float

    def share(self, score: float) -> float:
        """0 to 1; NaN stays NaN."""
        return 1 / (1 + math.exp(min((self.middle - score) / self.width, 700)))


@dataclass(frozen=True)
class Calibration:
    """Of one training's weights. keypoint: share of keypoints that are right, by their own score. pose: share of a pose's
    keypoints that are right, by `Pose.score`.

    The thresholds are the middles: what is below is more often wrong than right.
    """

    keypoint: Curve
    pose: Curve


PUBLISHED = Calibration(keypoint=Curve(0.30, 0.08), pose=Curve(0.30, 0.08))  # the authors' weights, RT and I
SHIPPED = Calibration(keypoint=Curve(0.60, 0.06), pose=Curve(0.60, 0.06))  # those that come with epcore
