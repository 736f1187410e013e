"""One annotated person: what MPII and the synthetic figures have in common.

Coordinates are pixels of the picture, x to the right and y down, continuous and 0-based: (0, 0) is the outer corner of the
first pixel, so the pixel in row i and column j has its centre at (j + 0.5, i + 0.5). `epcore.pose` uses the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from epcore.pose.box import CROP_LOWER, CROP_MARGIN, SCALE_PIXELS
from epcore.pose.picture import open_picture
from epcore.pose.skeleton import KEYPOINTS

J = len(KEYPOINTS)


@dataclass(frozen=True)
class Person:
    """Keypoints of one person. keypoints (J,2) float64 pixels; annotated, visible (J,) bool.

    annotated: the keypoint's place is known (else its coordinates are NaN). visible: known and not hidden by anything.
    """

    keypoints: np.ndarray
    annotated: np.ndarray
    visible: np.ndarray

    def __post_init__(self) -> None:
        for name, shape in (("keypoints", (J, 2)), ("annotated", (J,)), ("visible", (J,))):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ValueError(f"{name} has shape {found}, expected {shape}")
        if not np.isfinite(self.keypoints[self.annotated]).all():
            raise ValueError("keypoints has values that are not finite where annotated says that they are known")


@dataclass(frozen=True)
class Record:
    """A picture and the person in it to be found.

    name: unique in its data set. image: path of a picture, or uint8 (H,W,3). person: the one to be found. center (2,) pixels
    and scale (person's height / 200 pixels): MPII's rough position. head_box: (4,) x1, y1, x2, y2 pixels, None if missing.
    others: annotated persons in the same picture.
    """

    name: str
    image: Path | np.ndarray
    person: Person
    center: np.ndarray
    scale: float
    head_box: np.ndarray | None = None
    others: tuple[Person, ...] = field(default=())

    @property
    def keypoints(self) -> np.ndarray:
        """(J,2) float64 pixels, NaN where not annotated."""
        return self.person.keypoints

    @property
    def annotated(self) -> np.ndarray:
        """(J,) bool."""
        return self.person.annotated

    @property
    def visible(self) -> np.ndarray:
        """(J,) bool."""
        return self.person.visible

    def pixels(self) -> np.ndarray:
        """The picture, uint8 (H,W,3) RGB, as stored: annotations refer to that, so EXIF rotation is not applied.

        Raises FileNotFoundError, or ValueError for a file that is no picture or damaged.
        """
        if isinstance(self.image, np.ndarray):
            return self.image
        with open_picture(self.image) as opened:
            try:
                return np.asarray(opened.convert("RGB"))
            except Exception as error:  # a decoder meets damaged bytes with whatever exception it runs into
                raise ValueError(f"{self.image} is damaged: {str(error) or type(error).__name__}") from None


def crop_square(record: Record) -> tuple[float, float, float]:
    """Centre x, y and side, pixels, of the square around a person that becomes the network's input.

    Raises ValueError where the record's position or scale leaves no square.
    """
    x, y = record.center
    side = SCALE_PIXELS * CROP_MARGIN * record.scale
    if not (np.isfinite([x, y, side]).all() and side >= 1):
        raise ValueError(
            f"{record.name}: center ({x:g}, {y:g}) and scale {record.scale:g} give a crop of {side:g} pixels, "
            "expected at least 1"
        )
    return float(x), float(y + CROP_LOWER * record.scale), float(side)


def picture_record(name: str, image: np.ndarray, person: Person, **fields: object) -> Record:
    """A record whose crop is the whole square picture. image: uint8 (S,S,3)."""
    size = image.shape[0]
    scale = size / (SCALE_PIXELS * CROP_MARGIN)
    center = np.array([size / 2, size / 2 - CROP_LOWER * scale])
    return Record(name, image, person, center, scale, **fields)  # type: ignore[arg-type]
