"""Where a person is: a box in the picture, as detectors, COCO and MPII say it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SCALE_PIXELS = 200.0  # MPII: the person is about scale * 200 pixels tall
CROP_MARGIN = 1.25  # the custom: a quarter more room around the person, and the square 15 * scale pixels lower
CROP_LOWER = 15.0


@dataclass(frozen=True)
class Box:
    """x, y: its upper left corner; width, height: its size. Pixels of the upright picture, continuous, (0, 0) its outer corner.

    That is how COCO has boxes. One may reach beyond the picture. Raises ValueError for numbers that are not finite, or a width
    or height that is not positive.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        numbers = self.x, self.y, self.width, self.height
        if not (all(math.isfinite(number) for number in numbers) and self.width > 0 and self.height > 0):
            raise ValueError(f"the box {self} has no extent, expected finite x, y, width, height, the last two above 0")

    def __str__(self) -> str:
        return ",".join(f"{number:g}" for number in (self.x, self.y, self.width, self.height))

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def is_whole(self, width: int, height: int) -> bool:
        """Whether it is the whole picture, exactly."""
        return (self.x, self.y, self.width, self.height) == (0, 0, width, height)

    def meets(self, width: int, height: int) -> bool:
        """Whether a part of it, however small, lies in a picture of this size."""
        return self.x < width and self.y < height and self.x + self.width > 0 and self.y + self.height > 0

    @classmethod
    def around(cls, points: np.ndarray) -> Box:
        """The smallest box of points (K,2); those that are NaN are left out.

        Raises ValueError where fewer than two are left, or all lie on one horizontal or vertical line.
        """
        known = points[~np.isnan(points).any(axis=1)]
        if len(known) < 2:
            raise ValueError(f"there is no box around {len(known)} points, expected at least 2")
        (left, top), (right, bottom) = known.min(axis=0), known.max(axis=0)
        return cls(float(left), float(top), float(right - left), float(bottom - top))

    @classmethod
    def of_scale(cls, centre: Sequence[float], scale: float) -> Box:
        """MPII's rough position: centre x, y, pixels, and the person's height as a share of 200 pixels.

        A square as high as the person; with the usual margin it is the usual crop, whose middle lies 15 * scale pixels below
        the annotated centre.
        """
        x, y = centre
        side = SCALE_PIXELS * scale
        return cls(x - side / 2, y + CROP_LOWER * scale - side / 2, side, side)


def as_box(box: Box | Sequence[float]) -> Box:
    """A box, or x, y, width, height. Raises TypeError for what is neither, ValueError as `Box`."""
    if isinstance(box, Box):
        return box
    try:
        x, y, width, height = (float(number) for number in box)
    except (TypeError, ValueError):
        raise TypeError(f"the box is {box!r}, expected a Box or four numbers: x, y, width, height") from None
    return Box(x, y, width, height)
