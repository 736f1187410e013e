"""The skeleton drawn over its picture: left blue, right orange, the middle white, with a dark rim that shows on any ground."""

from __future__ import annotations

from math import hypot, sqrt

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from epcore.base.printable import printable
from epcore.pose.decode import THRESHOLD
from epcore.pose.picture import Picture, read_picture
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.skeleton import LIMBS

LEFT = (51, 153, 255)
RIGHT = (255, 140, 0)  # blue and orange stay apart for every common kind of colour blindness
MIDDLE = (255, 255, 255)
RIM = (20, 20, 20)
_SMOOTH_PIXELS = 16_000_000  # drawn at a multiple of the picture's size as long as that stays below this


def draw_pose(image: Picture, pose: Pose, *, threshold: float = THRESHOLD, label: str | None = None) -> Image.Image:
    """The picture, upright and in RGB, with the skeleton over it.

    Lines scale with the picture. Keypoints whose score is below the threshold are hollow, limbs that end in one are dashed;
    missing keypoints are left out. label: is written beside the uppermost keypoint. Raises as `read_picture`, and ValueError
    where the pose belongs to another picture.
    """
    return draw_on_pixels(read_picture(image), pose, threshold=threshold, label=label)


def draw_on_pixels(pixels: np.ndarray, pose: Pose, *, threshold: float = THRESHOLD, label: str | None = None) -> Image.Image:
    """`draw_pose` for what `read_picture` gave, (H,W,3) uint8, which stays as it is."""
    picture = Image.fromarray(pixels)
    if picture.size != (pose.width, pose.height):
        raise ValueError(
            f"the pose is of a picture of {pose.width}x{pose.height} pixels, this one has {picture.width}x{picture.height}"
        )
    layer = _skeleton(pose, threshold, label)
    picture.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    return picture


def _skeleton(pose: Pose, threshold: float, label: str | None) -> Image.Image:
    """RGBA layer of the picture's size."""
    pixels = pose.width * pose.height
    zoom = next((zoom for zoom in (4, 3, 2) if pixels * zoom * zoom <= _SMOOTH_PIXELS), 1)
    thickness = max(1.5, 0.007 * sqrt(pixels)) * zoom
    layer = Image.new("RGBA", (pose.width * zoom, pose.height * zoom), (*RIM, 0))
    draw = ImageDraw.Draw(layer)

    points = pose.keypoints
    ends = [(points[start], points[end]) for start, end in LIMBS if points[start].found and points[end].found]
    limbs = [(colour_of(*end), piece) for end in ends for piece in _pieces(end, threshold, thickness, zoom)]
    dots = [point for point in points if point.found]
    rim = max(1.0, 0.35 * thickness / zoom) * zoom
    for width, own in ((thickness + 2 * rim, False), (thickness, True)):  # all rims, then all colours
        for colour, piece in limbs:
            draw.line(piece, fill=(*(colour if own else RIM), 255), width=round(width))
        for point in dots:
            x, y = place_of(point, zoom)
            radius = (thickness + width) / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*(colour_of(point) if own else RIM), 255))
    for point in dots:
        if not point.score >= threshold:
            x, y = place_of(point, zoom)
            hole = 0.55 * thickness
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=(*RIM, 0))
    if label and dots:
        x, y = place_of(min(dots, key=lambda point: place_of(point, zoom)[1]), zoom)
        font = ImageFont.load_default(max(10.0 * zoom, 3 * thickness))
        place = x + 2 * thickness, max(y - 3 * thickness, 0)
        draw.text(place, printable(label), (*MIDDLE, 255), font, stroke_width=round(rim), stroke_fill=(*RIM, 255))
    return layer.resize((pose.width, pose.height), Image.Resampling.BOX) if zoom > 1 else layer


Line = tuple[tuple[float, float], tuple[float, float]]


def _pieces(ends: tuple[Keypoint, Keypoint], threshold: float, thickness: float, zoom: int) -> list[Line]:
    """The limb as it is drawn: whole, or where an end is unsure, dashes of two thicknesses with as long gaps."""
    a, b = (place_of(point, zoom) for point in ends)
    length = hypot(b[0] - a[0], b[1] - a[1])
    if all(point.score >= threshold for point in ends) or length == 0:
        return [(a, b)]
    step = 4 * thickness / length

    def at(share: float) -> tuple[float, float]:
        return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])

    count = int(1 / step) + 1
    return [(at(k * step), at(min(k * step + step / 2, 1))) for k in range(count)]


def place_of(point: Keypoint, zoom: int = 1) -> tuple[float, float]:
    assert point.x is not None
    assert point.y is not None
    return point.x * zoom - 0.5, point.y * zoom - 0.5  # Pillow's (0, 0) is the centre of the first pixel


def colour_of(*points: Keypoint) -> tuple[int, int, int]:
    if any(point.name.startswith("left") for point in points):
        return LEFT
    if any(point.name.startswith("right") for point in points):
        return RIGHT
    return MIDDLE
