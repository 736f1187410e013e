"""Synthetic scenes in which the person is small: what a camera sees, before anyone has cropped it.

Scene number `index` of a seed is always the same, whoever renders it and in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from epcore.data import scene
from epcore.data.body import VARIETIES, Rng, sample_body
from epcore.data.figure import PARTS, Figure
from epcore.data.looks import Looks
from epcore.data.record import Person, Record
from epcore.pose.box import CROP_LOWER, SCALE_PIXELS, Box

_STREAM = 77  # of random numbers; no other data set begins with it
_CLUTTER = 30.0  # mean number of things; a figure's own picture has 5
# A camera's blur goes with its picture, not with the person in it: scenes are sharp. Otherwise as the default figures.
_VARIETY = replace(VARIETIES["default"], blurred=0)


@dataclass(frozen=True)
class DistantFigures:
    """count scenes of size x size pixels, each with one whole person among many things.

    smallest, largest: longer side of the keypoints' bounding box as a share of the picture's height. Raises ValueError for
    shares that are not 0 < smallest <= largest < 1, or a size below 32.
    """

    count: int
    seed: int = 0
    size: int = 720
    smallest: float = 0.15
    largest: float = 0.3

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected at least 1")
        if self.size < 32:
            raise ValueError(f"size is {self.size}, expected at least 32 pixels")
        if not 0 < self.smallest <= self.largest < 1:
            raise ValueError(f"the shares are {self.smallest} to {self.largest}, expected 0 < smallest <= largest < 1")

    def __len__(self) -> int:
        return self.count

    def record(self, index: int, epoch: int = 0) -> Record:
        """Scene `index`, the same in every epoch. Raises IndexError outside 0..count-1."""
        if not 0 <= index < self.count:
            raise IndexError(f"index is {index}, expected 0 to {self.count - 1}")
        return self._render(np.random.default_rng([_STREAM, self.seed, index]), f"scene-{self.seed}-{index}")

    def _render(self, rng: Rng, name: str) -> Record:
        size = self.size
        canvas = np.empty((size, size, 3), np.float32)
        owner = np.full((size, size), scene.NOTHING, np.int16)
        light = scene.sample_light(rng)
        scene.draw_background(canvas, rng)
        scene.draw_clutter(canvas, owner, rng, int(rng.poisson(_CLUTTER)), light)
        figure = self._place(rng)
        figure.draw(canvas, owner, light)
        picture = scene.expose(canvas, rng, _VARIETY)
        known = np.ones(len(figure.keypoints), bool)
        person = Person(figure.keypoints, known, figure.visible(owner))
        box = Box.around(figure.keypoints)
        scale = max(box.width, box.height) / SCALE_PIXELS
        centre = np.array(box.centre) - (0, CROP_LOWER * scale)
        return Record(name, picture, person, centre, scale, head_box=figure.head_box())

    def _place(self, rng: Rng) -> Figure:
        """Anywhere, whole."""
        body, looks = sample_body(rng, _VARIETY), Looks.sample(rng)
        points = body.keypoints[:, :2]
        extent = points.max(axis=0) - points.min(axis=0)
        stature = rng.uniform(self.smallest, self.largest) * self.size / extent.max()
        room = (self.size - 1.15 * extent * stature) / 2  # hands and feet reach beyond the joints
        centre = self.size / 2 + room * rng.uniform(-1, 1, 2)
        return Figure.place(body, looks, (centre[0], centre[1]), stature, len(PARTS))
