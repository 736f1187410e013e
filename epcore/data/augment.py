"""Random changes of a picture and its person: flip, scale and rotation, which with the crop are one matrix (`pose.affine`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from epcore.data.record import Person
from epcore.pose.affine import Change, transform_points
from epcore.pose.skeleton import FLIP_PERMUTATION


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes (the paper's by default); drawn evenly.

    flip: probability of a horizontal flip. scale: smallest and largest factor of the person's size. rotation: largest angle,
    degrees, to either side. Raises ValueError for ranges that make no sense.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.75, 1.25)
    rotation: float = 45.0

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip}, expected a probability from 0 to 1")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"scale is {self.scale}, expected two positive factors, the smaller first")
        if not 0 <= self.rotation <= 180:
            raise ValueError(f"rotation is {self.rotation}, expected 0 to 180 degrees")

    def sample(self, rng: np.random.Generator) -> Change:
        flip = bool(rng.random() < self.flip)
        return Change(flip, rng.uniform(*self.scale), math.radians(rng.uniform(-self.rotation, self.rotation)))


NO_AUGMENTATION = Augmentation(flip=0, scale=(1, 1), rotation=0)


def transform_person(person: Person, matrix: np.ndarray) -> Person:
    """The person in the input. Where the matrix mirrors, left and right change places."""
    order = FLIP_PERMUTATION if np.linalg.det(matrix[:, :2]) < 0 else np.arange(len(FLIP_PERMUTATION))
    return Person(transform_points(person.keypoints, matrix)[order], person.annotated[order], person.visible[order])
