"""Synthetic figures: an endless supply of pictures of one person each, with exact keypoints and head boxes.

Picture number `index` of a seed and split is always the same, whoever renders it and in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from epcore.data import scene
from epcore.data.body import VARIETIES, Rng, Variety, sample_body
from epcore.data.figure import PARTS, Figure
from epcore.data.looks import Looks
from epcore.data.record import Person, Record, picture_record

SPLITS = ("train", "validation", "test")  # never share a picture
_EPOCH = 1 << 32  # distance between the indices of two epochs' pictures
_TRIES = 8


@dataclass(frozen=True)
class SyntheticFigures:
    """count pictures an epoch of size x size pixels.

    fresh: every epoch has new pictures; else each repeats the first's. variety: how hard they are. Raises ValueError for
    an unknown split, variety or a size below 32.
    """

    count: int
    seed: int = 0
    split: str = "train"
    size: int = 256
    variety: Variety | str = "default"
    fresh: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected at least 1")
        if self.split not in SPLITS:
            raise ValueError(f"split is {self.split!r}, expected one of {', '.join(SPLITS)}")
        if self.size < 32:
            raise ValueError(f"size is {self.size}, expected at least 32 pixels")
        if isinstance(self.variety, str) and self.variety not in VARIETIES:
            raise ValueError(f"variety is {self.variety!r}, expected one of {', '.join(VARIETIES)}")

    def __len__(self) -> int:
        return self.count

    def record(self, index: int, epoch: int = 0) -> Record:
        """Picture `index` of an epoch. Raises IndexError outside 0..count-1."""
        if not 0 <= index < self.count:
            raise IndexError(f"index is {index}, expected 0 to {self.count - 1}")
        number = index + _EPOCH * (epoch if self.fresh else 0)
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), number])
        variety = VARIETIES[self.variety] if isinstance(self.variety, str) else self.variety
        return render(rng, self.size, variety, f"{self.split}-{self.seed}-{number}")


def render(rng: Rng, size: int, variety: Variety, name: str) -> Record:
    """One picture of size x size pixels and what is in it."""
    canvas = np.empty((size, size, 3), np.float32)
    owner = np.full((size, size), scene.NOTHING, np.int16)
    light = scene.sample_light(rng)
    scene.draw_background(canvas, rng)
    scene.draw_clutter(canvas, owner, rng, int(rng.poisson(variety.clutter)), light)
    for _ in range(int(rng.poisson(variety.decoys))):
        scene.draw_decoy(canvas, owner, rng, light)

    figure = _place(rng, size, variety)
    figures = [figure]
    if rng.random() < variety.crowded:
        figures.insert(0, _bystander(rng, size, variety, figure))
    for each in figures:
        each.draw(canvas, owner, light)
    if rng.random() < variety.occluded:
        spot = figure.keypoints[rng.integers(len(figure.keypoints))] + rng.normal(0, 0.05 * size, 2)
        scene.draw_thing(canvas, owner, rng, spot, rng.uniform(0.05, 0.11) * size, light)

    picture = scene.expose(canvas, rng, variety)
    person, *others = (_annotate(each, owner) for each in reversed(figures))
    return picture_record(name, picture, person, head_box=figure.head_box(), others=tuple(others))


def _place(rng: Rng, size: int, variety: Variety) -> Figure:
    """The person to be found: in the middle, whole or, if it is to be truncated, partly outside."""
    body = sample_body(rng, variety)
    looks = Looks.sample(rng)
    points = body.keypoints[:, :2]
    extent = points.max(axis=0) - points.min(axis=0)
    side = rng.uniform(variety.smallest, variety.largest) * size
    stature = min(side / extent.max(), 1.05 * size)
    room = np.maximum(0, (size - extent * stature) / 2 - 0.03 * size)
    centre = size / 2 + room * rng.uniform(-1, 1, 2)
    if rng.random() < variety.truncated:
        axis = rng.integers(2)
        centre[axis] += rng.choice([-1, 1]) * (room[axis] + rng.uniform(0.08, 0.2) * extent[axis] * stature)
    return Figure.place(body, looks, (centre[0], centre[1]), stature, len(PARTS))


def _bystander(rng: Rng, size: int, variety: Variety, figure: Figure) -> Figure:
    """Someone beside the person to be found, farther from the middle, smaller or cut off by the border."""
    body, looks = sample_body(rng, variety), Looks.sample(rng)
    middle = figure.keypoints[:, 0].mean()
    for _ in range(_TRIES):
        x = rng.uniform(-0.05, 1.05) * size
        if abs(x - middle) > 0.33 * size:
            break
    else:
        x = -0.05 * size if middle > size / 2 else 1.05 * size
    stature = figure.stature * rng.uniform(0.5, 0.9)
    return Figure.place(body, looks, (x, rng.uniform(0.4, 0.65) * size), stature, 0)


def _annotate(figure: Figure, owner: np.ndarray) -> Person:
    """Keypoints outside the picture are not annotated, as in MPII."""
    points = figure.keypoints
    inside = ((points >= 0) & (points < owner.shape[0])).all(axis=1)
    points[~inside] = np.nan
    return Person(points, inside, figure.visible(owner) & inside)
