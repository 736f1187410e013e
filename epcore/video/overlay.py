"""The skeleton drawn into a frame, at once and without a layer of its own: pictures have `epcore.pose.draw`, which is finer and
takes longer than the network."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from epcore.pose.draw import LEFT, MIDDLE, RIGHT, RIM
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.skeleton import LIMBS


def draw_frame(pixels: np.ndarray, pose: Pose, minimum: float) -> np.ndarray:
    """pixels (H,W,3) uint8 with the skeleton: another array. Keypoints below the score `minimum` are hollow, limbs that end in
    one are left out, as are missing keypoints."""
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    thickness = max(2, round(0.006 * (pose.width * pose.height) ** 0.5))
    radius = 1.4 * thickness
    limbs = []
    for start, end in ((pose.keypoints[a], pose.keypoints[b]) for a, b in LIMBS):
        if start.found and end.found and min(start.score, end.score) >= minimum:
            limbs.append(((_at(start), _at(end)), _colour(start, end)))
    for line, _ in limbs:
        draw.line(line, fill=RIM, width=thickness + 2)
    for line, colour in limbs:
        draw.line(line, fill=colour, width=thickness)
    for point in pose.keypoints:
        if point.found:
            x, y = _at(point)
            fill = _colour(point) if point.score >= minimum else None
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=RIM if fill else _colour(point))
    return np.asarray(picture)


def _at(point: Keypoint) -> tuple[float, float]:
    assert point.x is not None
    assert point.y is not None
    return point.x - 0.5, point.y - 0.5  # Pillow's (0, 0) is the centre of the first pixel


def _colour(*points: Keypoint) -> tuple[int, int, int]:
    if any(point.name.startswith("left") for point in points):
        return LEFT
    if any(point.name.startswith("right") for point in points):
        return RIGHT
    return MIDDLE
