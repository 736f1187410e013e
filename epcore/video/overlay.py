"""The skeleton drawn into a frame, at once and without a layer of its own: pictures have `epcore.pose.draw`, which is finer and
takes longer than the network."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from epcore.pose.draw import RIM, colour_of, place_of
from epcore.pose.predict import Pose
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
            limbs.append(((place_of(start), place_of(end)), colour_of(start, end)))
    for line, _ in limbs:
        draw.line(line, fill=RIM, width=thickness + 2)
    for line, colour in limbs:
        draw.line(line, fill=colour, width=thickness)
    for point in pose.keypoints:
        if point.found:
            x, y = place_of(point)
            fill = colour_of(point) if point.score >= minimum else None
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=RIM if fill else colour_of(point))
    return np.asarray(picture)
