"""Keypoints of the person in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.base.arrays import to_numpy
from epcore.inference.engine import Engine, PoseModel, as_engine
from epcore.not_numbers import require_numbers
from epcore.pose.averaging import average, changes
from epcore.pose.box import CROP_MARGIN, Box, as_box
from epcore.pose.crop import inputs
from epcore.pose.decode import decode
from epcore.pose.picture import Picture, read_picture
from epcore.pose.refine import Method
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
    """Keypoints of one person, in the order of `skeleton.KEYPOINTS`. width, height: the (upright) picture, pixels.

    box: where the person was looked for; None: the whole picture.
    """

    width: int
    height: int
    keypoints: tuple[Keypoint, ...]
    box: Box | None = None

    @property
    def points(self) -> np.ndarray:
        """(J,2) float64 x, y in pixels, NaN where missing."""
        return np.array([(point.x, point.y) for point in self.keypoints], np.float64)

    @property
    def scores(self) -> np.ndarray:
        """(J,) float64."""
        return np.array([point.score for point in self.keypoints])

    @property
    def score(self) -> float:
        """How sure the pose is as a whole: the mean of its keypoints' scores. What it means: `epcore.pose.confidence`."""
        return float(self.scores.mean())

    def to_json(self) -> dict[str, Any]:
        """Width, height, box if any, score and keypoints for `json.dumps`: thousandths of a pixel, missing coordinates null."""
        box = self.box
        place = {"box": [round(number, 3) for number in (box.x, box.y, box.width, box.height)]} if box else {}
        return {
            "width": self.width,
            "height": self.height,
            **place,
            "score": round(self.score, 4),
            "keypoints": [
                {"name": point.name, "x": _rounded(point.x, 3), "y": _rounded(point.y, 3), "score": round(point.score, 4)}
                for point in self.keypoints
            ],
        }


def predict(
    image: Picture,
    model: PoseModel,
    *,
    box: Box | Sequence[float] | None = None,
    margin: float = CROP_MARGIN,
    max_pixels: int | None = None,
    real_time: bool = False,
    method: Method = "release",
    coarse: bool = False,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Pose:
    """Find the keypoints of the person in a picture, or in a box of it.

    image: a path, an opened binary file, a PIL image or a uint8 or uint16 array (H,W,3). It is turned upright where its EXIF
        data says so; coordinates refer to the upright picture. max_pixels: see `read_picture`.
    model: an EfficientPose with weights, a compiled plan of one, or what else is a `PoseModel`. It computes in this thread.
    box: around the person: a `Box`, or x, y, width, height, pixels of the upright picture; None: the whole picture. The network
        gets the square around it whose side is `margin` times its longer side (`epcore.pose.crop`).
    real_time: the release's faster decoding: no smoothing, and keypoints below 0.3 are missing.
    method: how a place finer than a cell of the map is found (`epcore.pose.refine`); "release": not at all.
    coarse: of the maps before upscaling, 64 times smaller. flip, scales: the mean of the maps of the mirrored picture too, and
        of several sizes of the person (`epcore.pose.averaging`); the network runs once for each.

    A model without upscaling is decoded at the resolution of its last maps. Raises as `read_picture` for pictures, as `Box` and
    `Crop.around` for boxes, ValueError for scales that are not positive, an unknown method, a model in training mode or one
    whose maps are not numbers, saying whether weights, input or kernels are at fault (`epcore.not_numbers`).
    """
    where = None if box is None else as_box(box)
    pixels = read_picture(image, max_pixels=max_pixels)
    return predict_pixels(
        pixels, as_engine(model), box=where, margin=margin, real_time=real_time, method=method, coarse=coarse, flip=flip,
        scales=scales,
    )  # fmt: skip


def predict_pixels(
    pixels: np.ndarray,
    engine: Engine,
    *,
    box: Box | None = None,
    margin: float = CROP_MARGIN,
    real_time: bool = False,
    method: Method = "release",
    coarse: bool = False,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Pose:
    """`predict` for what `read_picture` gave, (H,W,3) uint8, and what `engine` or `as_engine` chose."""
    if not isinstance(engine.resolution, int):
        raise ValueError(f"the model takes input of {engine.resolution} pixels, expected a square")
    looks = changes(scales, flip)
    xs, geometry = inputs(pixels, engine.resolution, engine.preprocessing, looks, box=box, margin=margin)
    seen = [_maps(engine, x, coarse) for x in xs]
    fractions, scores = decode(seen[0] if len(seen) == 1 else average(seen, looks), method=method, real_time=real_time)
    if np.isnan(scores).any():  # found while decoding: no further look at maps that are numbers
        for x, maps in zip(xs, seen, strict=True):
            require_numbers(maps[None], engine, x)
    keypoints = tuple(
        Keypoint(name, _number(x), _number(y), float(score))
        for name, (x, y), score in zip(KEYPOINTS, geometry.to_picture(fractions), scores, strict=True)
    )
    return Pose(geometry.width, geometry.height, keypoints, box)


def _maps(engine: Engine, x: np.ndarray, coarse: bool) -> np.ndarray:
    """(h,w,J) in host memory."""
    outputs = engine(x)
    if coarse and not getattr(outputs, "confs", None):
        raise ValueError("the model gives no maps before upscaling: they cannot be decoded")
    maps: np.ndarray = to_numpy(outputs.confs[-1] if coarse else outputs.final)[0]
    if maps.shape[-1] != len(KEYPOINTS):
        raise ValueError(f"the model gives {maps.shape[-1]} confidence maps, expected {len(KEYPOINTS)}")
    return maps


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
