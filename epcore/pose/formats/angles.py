"""Angles of joints, degrees, as a table: a line for each pose, a column for each angle, empty where a keypoint is missing.

elbow     between upper arm and forearm: 180 straight, 0 folded                (shoulder, elbow, wrist)
knee      between thigh and shank: 180 straight                                (hip, knee, ankle)
hip       between trunk and thigh: 180 standing upright, 90 sitting            (shoulder, hip, knee)
shoulder  between trunk and upper arm: 0 hanging down, 180 straight up         (hip, shoulder, elbow)
neck      between the head and the spine prolonged: 0 upright                  (thorax to pelvis, upper_neck to head_top)
trunk     the line from pelvis to thorax against the vertical: 0 upright, positive leaning to the right of the picture

All are angles in the picture, of limbs as they are projected to it: those of the body where the limb moves in a plane that
faces the camera. The first five have no sign.
"""

from __future__ import annotations

from typing import IO

import numpy as np

from epcore.pose.formats.csv_rows import CsvTable
from epcore.pose.formats.observation import Observation, rounded
from epcore.pose.predict import Pose

_CORNERS = {
    f"{side}_{name}": tuple(f"{side}_{joint}" for joint in joints)
    for name, joints in {
        "elbow": ("shoulder", "elbow", "wrist"),
        "knee": ("hip", "knee", "ankle"),
        "hip": ("shoulder", "hip", "knee"),
        "shoulder": ("hip", "shoulder", "elbow"),
    }.items()
    for side in ("right", "left")
}
ANGLES = (*_CORNERS, "neck", "trunk")


def joint_angles(pose: Pose) -> dict[str, float]:
    """Name -> degrees, in the order of `ANGLES`; NaN where a keypoint is missing or a limb has no length."""
    points = {point.name: place for point, place in zip(pose.keypoints, pose.points, strict=True)}
    angles = {
        name: between(points[first] - points[corner], points[last] - points[corner])
        for name, (first, corner, last) in _CORNERS.items()
    }
    spine = points["thorax"] - points["pelvis"]
    angles["neck"] = between(points["head_top"] - points["upper_neck"], spine)
    known = not np.isnan(spine).any() and bool(spine.any())
    angles["trunk"] = float(np.degrees(np.arctan2(spine[0], -spine[1]))) if known else float("nan")
    return angles


def between(a: np.ndarray, b: np.ndarray) -> float:
    """The angle between two vectors (2,), degrees, 0 to 180; NaN where one has no length or is NaN."""
    if np.isnan(a).any() or np.isnan(b).any() or not (a.any() and b.any()):
        return float("nan")
    return float(np.degrees(np.arctan2(abs(a[0] * b[1] - a[1] * b[0]), a @ b)))


class AngleTable(CsvTable):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, ANGLES)

    def add(self, observation: Observation) -> None:
        self.line(observation, [rounded(angle) for angle in joint_angles(observation.pose).values()])
