"""The skeleton that every map, target and score refers to: keypoints, limbs, and what a horizontal flip does to them.

Order as in the published models. J = 16 keypoints, L = 14 limbs; the part affinity field of limb l has its x component in
channel 2l and its y component in channel 2l + 1.
"""

from __future__ import annotations

import numpy as np

KEYPOINTS = (
    "head_top", "upper_neck", "right_shoulder", "right_elbow", "right_wrist", "thorax", "left_shoulder", "left_elbow",
    "left_wrist", "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
)  # fmt: skip
MPII_IDS = (9, 8, 12, 11, 10, 7, 13, 14, 15, 6, 2, 1, 0, 3, 4, 5)  # the data set's joint id of each keypoint

LIMB_NAMES = (  # (start, end); the field points from start to end
    ("head_top", "upper_neck"),
    ("thorax", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("thorax", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("upper_neck", "thorax"),
    ("thorax", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("thorax", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
)  # fmt: skip
LIMBS = tuple((KEYPOINTS.index(start), KEYPOINTS.index(end)) for start, end in LIMB_NAMES)


def _mirrored(name: str) -> str:
    if name.startswith("left"):
        return name.replace("left", "right", 1)
    return name.replace("right", "left", 1)


def _constant(values: list[int]) -> np.ndarray:
    array = np.array(values)
    array.setflags(write=False)
    return array


# In a flipped picture keypoint j lies where FLIP_PERMUTATION[j] lay: points[FLIP_PERMUTATION], maps[..., FLIP_PERMUTATION].
FLIP_PERMUTATION = _constant([KEYPOINTS.index(_mirrored(name)) for name in KEYPOINTS])  # (J,)
LIMB_FLIP_PERMUTATION = _constant([LIMB_NAMES.index((_mirrored(a), _mirrored(b))) for a, b in LIMB_NAMES])  # (L,)
# Of a field the x component also changes its sign: pafs[:, :, ::-1, PAF_FLIP_PERMUTATION] * PAF_FLIP_SIGN.
PAF_FLIP_PERMUTATION = _constant([2 * int(limb) + axis for limb in LIMB_FLIP_PERMUTATION for axis in (0, 1)])  # (2L,)
PAF_FLIP_SIGN = _constant([-1, 1] * len(LIMBS))  # (2L,)
