"""The part of a picture around a box -> the network's input, in one resampling of the picture itself.

The input is the square around the box's middle whose side is the longer side of the box times a margin. What it shows of the
picture beyond the box stays; what lies beyond the picture is black, as around whole pictures. Values are those of
`preprocess`: the picture, blurred against aliasing where it shrinks and mirrored at its border, read off linearly at the
middle of every pixel of the input, which here may lie anywhere.

A box that is the whole picture, margin 1, is what `preprocess` does, to the last bit. (There the shorter side is rounded to a
whole number of input pixels. A crop rounds nothing: a box that is moved by a hair moves all keypoints by that hair.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epcore.kernels.cpu.arrays import empty
from epcore.pose.affine import Change
from epcore.pose.box import CROP_MARGIN, Box
from epcore.pose.preprocess import Geometry, normalized_levels, preprocess_pixels
from epcore.pose.resample import part_taps, resample_by


@dataclass(frozen=True)
class Crop:
    """A square of a picture. width, height: the picture, pixels. size: the input, pixels.

    x, y, side: the square's upper left corner and side, pixels of the picture, any fractions of them.
    """

    width: int
    height: int
    size: int
    x: float
    y: float
    side: float

    @classmethod
    def around(cls, width: int, height: int, size: int, box: Box, margin: float = CROP_MARGIN) -> Crop:
        """The square around a box. margin: its side in longer sides of the box.

        Raises ValueError for a margin that is not positive, and for a box that lies outside the picture or is so large that
        the picture fills no pixel of the input.
        """
        if not (margin > 0 and math.isfinite(margin)):
            raise ValueError(f"margin is {margin}, expected a positive factor of the box's longer side")
        if not box.meets(width, height):
            raise ValueError(f"the box {box} (x, y, width, height) lies outside the picture of {width}x{height} pixels")
        side = max(box.width, box.height) * margin
        x, y = box.centre
        crop = cls(width, height, size, x - side / 2, y - side / 2, side)
        if not (crop.visible(0)[1] and crop.visible(1)[1]):
            raise ValueError(f"the box {box} (x, y, width, height) leaves nothing of the picture of {width}x{height} pixels")
        return crop

    def zoomed(self, factor: float) -> Crop:
        """The same middle, everything `factor` times as large. Raises ValueError where that shows nothing of the picture."""
        side = self.side / factor
        shift = (self.side - side) / 2
        crop = Crop(self.width, self.height, self.size, self.x + shift, self.y + shift, side)
        if not (crop.visible(0)[1] and crop.visible(1)[1]):
            raise ValueError(f"the box at scale {factor:g} shows nothing of the picture of {self.width}x{self.height} pixels")
        return crop

    def visible(self, axis: int) -> tuple[int, int]:
        """Axis 0 x, 1 y: the first pixel of the input whose middle lies in the picture, and how many do."""
        corner, extent = (self.x, self.width) if axis == 0 else (self.y, self.height)
        middles = corner + (np.arange(self.size) + 0.5) * (self.side / self.size)
        inside = np.flatnonzero((middles >= 0) & (middles <= extent))
        return (int(inside[0]), inside.size) if inside.size else (0, 0)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(...,2) x, y as fractions of the square -> pixels of the picture, clipped to it. NaN stays NaN."""
        return np.clip(points * self.side + (self.x, self.y), 0, (self.width, self.height))

    def to_square(self, points: np.ndarray) -> np.ndarray:
        """The way back: (...,2) pixels of the picture -> fractions of the square."""
        fractions: np.ndarray = (points - (self.x, self.y)) / self.side
        return fractions


def preprocess_part(
    pixels: np.ndarray, size: int, preprocessing: str = "imagenet", *, box: Box | None = None, margin: float = CROP_MARGIN
) -> tuple[np.ndarray, Geometry | Crop]:
    """pixels (H,W,3) uint8 -> x (1,size,size,3) float32, and the way of keypoints back.

    box: None for the whole picture, without margin. Raises as `Crop.around`.
    """
    height, width, _ = pixels.shape
    if box is None or (box.is_whole(width, height) and margin == 1):
        return preprocess_pixels(pixels, size, preprocessing)
    crop = Crop.around(width, height, size, box, margin)
    return preprocess_crop(pixels, crop, preprocessing), crop


def inputs(
    pixels: np.ndarray, size: int, preprocessing: str, looks: Sequence[Change], *, box: Box | None, margin: float
) -> tuple[list[np.ndarray], Geometry | Crop]:
    """As `preprocess_part`, one x for every look (mirrored, larger or smaller about the same middle), and the frame of scale 1.

    Several scales of a whole picture are crops too, so that nothing is rounded between them.
    """
    if all(look.scale == 1 for look in looks):
        x, place = preprocess_part(pixels, size, preprocessing, box=box, margin=margin)
        taken = {1.0: x}
    else:
        height, width, _ = pixels.shape
        frame = Crop.around(width, height, size, box or Box(0, 0, width, height), margin if box else 1)
        scales = {look.scale for look in looks}
        taken = {scale: preprocess_crop(pixels, frame.zoomed(scale), preprocessing) for scale in scales}
        place = frame
    return [np.ascontiguousarray(taken[look.scale][:, :, ::-1]) if look.flip else taken[look.scale] for look in looks], place


def preprocess_crop(pixels: np.ndarray, crop: Crop, preprocessing: str = "imagenet") -> np.ndarray:
    """pixels (H,W,3) uint8 of the crop's picture -> x (1,size,size,3) float32."""
    scale = crop.side / crop.size
    (left, columns), (top, rows) = crop.visible(0), crop.visible(1)
    x = empty((1, crop.size, crop.size, 3))
    resample_by(
        pixels,
        part_taps(crop.height, scale, crop.y + top * scale, rows),
        part_taps(crop.width, scale, crop.x + left * scale, columns),
        normalized_levels(preprocessing),
        x[0],
        (top, left),
    )
    return x
