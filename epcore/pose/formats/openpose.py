"""OpenPose's JSON, one file for each picture or frame, in its BODY_25 order: what OpenPose writes by default and Pose2Sim,
Sports2D, OpenSim's helpers and most other readers expect.

    {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score, ... 75 numbers], ...}]}

Fourteen of its 25 keypoints are MPII's: shoulders, elbows, wrists, hips, knees, ankles; its neck, which lies between the
shoulders, is MPII's thorax, its middle of the hips the pelvis. Nose, eyes, ears and feet are not known here: 0, 0, 0, as are
missing ones. Head top and upper neck have no place in it. The middle of the first pixel is (0, 0), as OpenCV counts.

Files: NAME_keypoints.json for pictures, NAME_000000000012_keypoints.json for frame 12 of a film, as OpenPose calls them.
Source: OpenPose, doc/02_output.md.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from epcore.base.files import short_stem
from epcore.pose.formats.observation import Observation

BODY_25: tuple[str | None, ...] = (
    None, "thorax", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "pelvis",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", *[None] * 10,
)  # fmt: skip
_PARTS = (
    "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d", "pose_keypoints_3d", "face_keypoints_3d",
    "hand_left_keypoints_3d", "hand_right_keypoints_3d",
)  # fmt: skip


class Folder(Protocol):
    """Takes files, such as `StagedFolder`."""

    def write(self, name: str, data: bytes) -> None: ...


class OpenPoseFiles:
    """Persons of one picture have to come one after another. Two pictures of one name get numbers: NAME_2_keypoints.json."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._taken: set[str] = set()
        self._picture: tuple[str, int | None] | None = None
        self._people: list[dict[str, Any]] = []

    def add(self, observation: Observation) -> None:
        picture = observation.source, observation.frame
        if picture != self._picture:
            self.finish()
            self._picture = picture
        self._people.append(_person(observation))

    def finish(self) -> None:
        if self._picture is None:
            return
        text = json.dumps({"version": 1.3, "people": self._people}, allow_nan=False)
        self._folder.write(self._name(*self._picture), text.encode())
        self._picture, self._people = None, []

    def _name(self, source: str, frame: int | None) -> str:
        stem = short_stem(source)
        if frame is not None:
            return f"{stem}_{frame:012}_keypoints.json"
        name, number = stem, 2
        while name.casefold() in self._taken:
            name, number = f"{stem}_{number}", number + 1
        self._taken.add(name.casefold())
        return f"{name}_keypoints.json"


def _person(observation: Observation) -> dict[str, Any]:
    found = {point.name: point for point in observation.pose.keypoints if point.found}
    numbers: list[float] = []
    for name in BODY_25:
        point = found.get(name) if name else None
        if point is None or point.x is None or point.y is None:
            numbers += [0, 0, 0]
        else:
            numbers += [round(point.x - 0.5, 3), round(point.y - 0.5, 3), round(point.score, 4)]
    known = observation.person or ""
    person = int(known) if known.isascii() and known.isdecimal() else -1
    return {"person_id": [person], "pose_keypoints_2d": numbers, **{part: [] for part in _PARTS}}
