"""Keypoints of the person in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.base.arrays import to_numpy
from epcore.inference.engine import Engine, PoseModel, as_engine
from epcore.not_numbers import require_numbers
from epcore.pose.decode import decode
from epcore.pose.picture import Picture, read_picture
from epcore.pose.preprocess import preprocess_pixels
from epcore.pose.skeleton import KEYPOINTS


@dataclass(frozen=True)
class Keypoint:
    """One keypoint. x, y: pixels of the picture, continuous, (0, 0) the outer corner of the first pixel; None if missing.

    score: the confidence map's value at the peak, about 0 to 1. Present for missing keypoints too.
    """

    name: str
    x: float | None
    y: float | None
    score: float

    @property
    def found(self) -> bool:
        return self.x is not None


@dataclass(frozen=True)
class Pose:
    """Keypoints of one picture, in the order of `skeleton.KEYPOINTS`. width, height: the (upright) picture, pixels."""

    width: int
    height: int
    keypoints: tuple[Keypoint, ...]

    @property
    def points(self) -> np.ndarray:
        """(J,2) float64 x, y in pixels, NaN where missing."""
        return np.array([(point.x, point.y) for point in self.keypoints], np.float64)

    @property
    def scores(self) -> np.ndarray:
        """(J,) float64."""
        return np.array([point.score for point in self.keypoints])

    def to_json(self) -> dict[str, Any]:
        """Width, height and keypoints for `json.dumps`: thousandths of a pixel, missing coordinates null."""
        return {
            "width": self.width,
            "height": self.height,
            "keypoints": [
                {"name": point.name, "x": _rounded(point.x, 3), "y": _rounded(point.y, 3), "score": round(point.score, 4)}
                for point in self.keypoints
            ],
        }


def predict(image: Picture, model: PoseModel, *, real_time: bool = False, max_pixels: int | None = None) -> Pose:
    """Find the keypoints of the person in a picture.

    image: a path, an opened binary file, a PIL image or a uint8 or uint16 array (H,W,3). It is turned upright where its EXIF
        data says so; coordinates refer to the upright picture. max_pixels: see `read_picture`.
    model: an EfficientPose with weights, a compiled plan of one, or what else is a `PoseModel`. It computes in this thread.
    real_time: the release's faster decoding: no smoothing, and keypoints below 0.3 are missing.

    A model without upscaling is decoded at the resolution of its last maps. Raises as `read_picture` for pictures, ValueError
    for a model in training mode or one whose maps are not numbers, saying whether weights, input or kernels are at fault
    (`epcore.not_numbers`).
    """
    return predict_pixels(read_picture(image, max_pixels=max_pixels), as_engine(model), real_time=real_time)


def predict_pixels(pixels: np.ndarray, engine: Engine, *, real_time: bool = False) -> Pose:
    """`predict` for what `read_picture` gave, (H,W,3) uint8, and what `engine` or `as_engine` chose."""
    if not isinstance(engine.resolution, int):
        raise ValueError(f"the model takes input of {engine.resolution} pixels, expected a square")
    x, geometry = preprocess_pixels(pixels, engine.resolution, engine.preprocessing)
    maps = to_numpy(engine(x).final)[0]
    if maps.shape[-1] != len(KEYPOINTS):
        raise ValueError(f"the model gives {maps.shape[-1]} confidence maps, expected {len(KEYPOINTS)}")
    fractions, scores = decode(maps, real_time=real_time)
    if np.isnan(scores).any():  # found while decoding: no further look at maps that are numbers
        require_numbers(maps[None], engine, x)
    keypoints = tuple(
        Keypoint(name, _number(x), _number(y), float(score))
        for name, (x, y), score in zip(KEYPOINTS, geometry.to_picture(fractions), scores, strict=True)
    )
    return Pose(geometry.width, geometry.height, keypoints)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
