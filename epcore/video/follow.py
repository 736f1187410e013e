"""Where to look in the next frame: around the person of this one, as MoveNet's published crop rule does.

The square lies around the middle of the hips; half its side is the largest of 1.9 times how far shoulders and hips are from
there and 1.2 times how far any keypoint is, along either axis. Keypoints below a score do not count. Where neither a hip nor a
shoulder is sure, or the square is larger than the picture, the whole picture is looked at.
Source: TensorFlow Hub, "MoveNet: Ultra fast and accurate pose detection model", section on cropping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from epcore.pose.box import Box
from epcore.pose.predict import Pose
from epcore.pose.skeleton import KEYPOINTS

TORSO_REACH, BODY_REACH = 1.9, 1.2
MINIMUM = 0.2  # MoveNet's, and the authors' weights': theirs stay below it where there is nobody
_HIPS = [KEYPOINTS.index(f"{side}_hip") for side in ("right", "left")]
_SHOULDERS = [KEYPOINTS.index(f"{side}_shoulder") for side in ("right", "left")]


@dataclass
class Follower:
    """box: where to look in the frame to come, a square, to be looked at without further margin; None: everywhere.

    minimum: the score from which a keypoint counts.
    """

    minimum: float = MINIMUM
    box: Box | None = None

    def see(self, pose: Pose) -> bool:
        """Take notice of what a frame shows; whether a person is followed from here."""
        self.box = next_box(pose, self.minimum)
        return self.box is not None


def next_box(pose: Pose, minimum: float = MINIMUM) -> Box | None:
    """The square around the person; None where it cannot be told, or is no smaller than the picture."""
    points = pose.points
    sure = (pose.scores >= minimum) & ~np.isnan(points).any(axis=1)
    if not (sure[_HIPS].any() and sure[_SHOULDERS].any()):
        return None
    known = np.where(sure[:, None], points, np.nan)
    centre = np.nanmean(known[_HIPS], axis=0)
    away = np.abs(known - centre)
    half = float(max(TORSO_REACH * np.nanmax(away[_HIPS + _SHOULDERS]), BODY_REACH * np.nanmax(away)))
    x, y = float(centre[0]), float(centre[1])
    half = min(half, max(x, pose.width - x, y, pose.height - y))
    if not 1 <= half <= max(pose.width, pose.height) / 2:
        return None
    return Box(x - half, y - half, 2 * half, 2 * half)
