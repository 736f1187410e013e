"""The skeleton drawn over its picture: left blue, right orange, the middle white, with a dark rim that shows on any ground."""

from __future__ import annotations

from math import sqrt

import numpy as np
from PIL import Image, ImageDraw

from epcore.pose.decode import THRESHOLD
from epcore.pose.picture import Picture, read_picture
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.skeleton import LIMBS

LEFT = (51, 153, 255)
RIGHT = (255, 140, 0)  # blue and orange stay apart for every common kind of colour blindness
MIDDLE = (255, 255, 255)
RIM = (20, 20, 20)
_FAINT = 0.35  # opacity of what is below the threshold
_SMOOTH_PIXELS = 16_000_000  # drawn at a multiple of the picture's size as long as that stays below this


def draw_pose(image: Picture, pose: Pose, *, threshold: float = THRESHOLD) -> Image.Image:
    """The picture, upright and in RGB, with the skeleton over it.

    Lines scale with the picture. Keypoints whose score is below the threshold, and limbs that end in one, are drawn faint;
    missing keypoints are left out. Raises as `read_picture`, and ValueError where the pose belongs to another picture.
    """
    return draw_on_pixels(read_picture(image), pose, threshold=threshold)


def draw_on_pixels(pixels: np.ndarray, pose: Pose, *, threshold: float = THRESHOLD) -> Image.Image:
    """`draw_pose` for what `read_picture` gave, (H,W,3) uint8, which stays as it is."""
    picture = Image.fromarray(pixels)
    if picture.size != (pose.width, pose.height):
        raise ValueError(
            f"the pose is of a picture of {pose.width}x{pose.height} pixels, this one has {picture.width}x{picture.height}"
        )
    for sure in (False, True):  # what is sure lies on top
        chosen = [(point.score >= threshold) == sure for point in pose.keypoints]
        if not any(chosen):
            continue
        layer = _skeleton(pose, chosen, all_ends=sure)
        opacity = layer.getchannel("A")
        if not sure:
            opacity = opacity.point(lambda value: round(value * _FAINT))
        picture.paste(layer.convert("RGB"), mask=opacity)
    return picture


def _skeleton(pose: Pose, chosen: list[bool], *, all_ends: bool) -> Image.Image:
    """RGBA layer of the picture's size with the chosen keypoints and the limbs with both (`all_ends`) or any end chosen."""
    pixels = pose.width * pose.height
    zoom = next((zoom for zoom in (4, 3, 2) if pixels * zoom * zoom <= _SMOOTH_PIXELS), 1)
    thickness = max(1.5, 0.007 * sqrt(pixels)) * zoom
    layer = Image.new("RGBA", (pose.width * zoom, pose.height * zoom), (*RIM, 0))
    draw = ImageDraw.Draw(layer)

    points = pose.keypoints
    limbs = [
        (points[start], points[end])
        for start, end in LIMBS
        if (all if all_ends else any)((chosen[start], chosen[end])) and points[start].found and points[end].found
    ]
    dots = [point for point, is_chosen in zip(points, chosen, strict=True) if is_chosen and point.found]
    rim = max(1.0, 0.35 * thickness / zoom) * zoom
    for width, colour in ((thickness + 2 * rim, RIM), (thickness, None)):  # all rims, then all colours
        for start, end in limbs:
            line = _at(start, zoom), _at(end, zoom)
            draw.line(line, fill=(*(colour or _colour(start, end)), 255), width=round(width))
        for point in dots:
            x, y = _at(point, zoom)
            radius = (thickness + width) / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*(colour or _colour(point)), 255))
    return layer.resize((pose.width, pose.height), Image.Resampling.BOX) if zoom > 1 else layer


def _at(point: Keypoint, zoom: int) -> tuple[float, float]:
    assert point.x is not None
    assert point.y is not None
    return point.x * zoom - 0.5, point.y * zoom - 0.5  # Pillow's (0, 0) is the centre of the first pixel


def _colour(*points: Keypoint) -> tuple[int, int, int]:
    if any(point.name.startswith("left") for point in points):
        return LEFT
    if any(point.name.startswith("right") for point in points):
        return RIGHT
    return MIDDLE
