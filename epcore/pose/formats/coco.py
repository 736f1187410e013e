"""COCO keypoint results, as `pycocotools.COCO.loadRes` and evaluation servers read them.

An array of {"image_id", "category_id": 1, "keypoints": [x, y, score] * 17, "score"}. Twelve keypoints of COCO are MPII's:
shoulders, elbows, wrists, hips, knees and ankles. Nose, eyes and ears are not known here: 0, 0, 0, as are missing ones. Head
top, neck, thorax and pelvis have no place in COCO. score: the mean of the scores of the keypoints that are given.

COCO gives places by pixel, the middle of the first being (0, 0): half a pixel less than epcore.
Source: https://cocodataset.org/#format-results, keypoint detection.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from epcore.pose.formats.observation import ArrayFile, Observation

COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
PERSON = 1  # COCO's category


class CocoResults:
    """image_id: the observation's; else the frame's number; else the number that is the file's name, as COCO's pictures have
    (000000397133.jpg: 397133); else the order of the pictures, from 1.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = ArrayFile(file)
        self._numbers: dict[str, int] = {}

    def add(self, observation: Observation) -> None:
        self._file.write({"image_id": self._image_id(observation), "category_id": PERSON, **_keypoints(observation)})

    def finish(self) -> None:
        self._file.finish()

    def _image_id(self, observation: Observation) -> int:
        if observation.image_id is not None:
            return observation.image_id
        if observation.frame is not None:
            return observation.frame
        number = self._numbers.setdefault(observation.source, len(self._numbers) + 1)
        stem = Path(observation.source).stem
        return int(stem) if stem.isascii() and stem.isdecimal() and len(stem) < 16 else number


def _keypoints(observation: Observation) -> dict[str, object]:
    found = {point.name: point for point in observation.pose.keypoints if point.found}
    numbers: list[float] = []
    scores: list[float] = []
    for name in COCO_KEYPOINTS:
        point = found.get(name)
        if point is None or point.x is None or point.y is None:
            numbers += [0, 0, 0]
            continue
        numbers += [round(point.x - 0.5, 3), round(point.y - 0.5, 3), round(point.score, 4)]
        scores.append(point.score)
    return {"keypoints": numbers, "score": round(float(np.mean(scores)), 4) if scores else 0.0}
