"""One picture of a batch made ready: read or rendered, augmented, cropped to the input. This is what worker processes do.

What a sample holds depends on the seed, the epoch and its index alone, not on who prepares it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from epcore.data.augment import Augmentation, transform_person
from epcore.data.record import Person, Record, crop_square
from epcore.pose.affine import crop_matrix, warp

_CHANGES = 2  # stream of random numbers; the order of pictures has 1, drop-connect 3


class Dataset(Protocol):
    """MPII or synthetic figures. Records of an index may differ between epochs."""

    def __len__(self) -> int: ...

    def record(self, index: int, epoch: int = 0) -> Record: ...


@dataclass(frozen=True)
class Truth:
    """What is known about a picture's person, in pixels of the picture; see `Record`."""

    name: str
    keypoints: np.ndarray
    annotated: np.ndarray
    visible: np.ndarray
    head_box: np.ndarray | None


@dataclass(frozen=True)
class Sample:
    """One picture of a batch before normalisation: uint8 (R,R,3). persons: in pixels of the input, the first to be found."""

    pixels: np.ndarray
    persons: tuple[Person, ...]
    matrix: np.ndarray
    truth: Truth


@dataclass(frozen=True)
class Task:
    """Which records make up a batch."""

    epoch: int
    step: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Preparation:
    """Makes samples; goes to the worker processes as a whole."""

    dataset: Dataset
    resolution: int
    seed: int
    augmentation: Augmentation

    def sample(self, index: int, epoch: int) -> Sample:
        record = self.dataset.record(index, epoch)
        rng = np.random.default_rng([self.seed, _CHANGES, epoch, index])
        matrix = crop_matrix(crop_square(record), self.resolution, self.augmentation.sample(rng))
        pixels = warp(record.pixels(), matrix, self.resolution)
        persons = tuple(transform_person(person, matrix) for person in (record.person, *record.others))
        truth = Truth(record.name, record.keypoints, record.annotated, record.visible, record.head_box)
        return Sample(pixels, persons, matrix, truth)

    def __call__(self, task: Task) -> list[Sample]:
        return [self.sample(index, task.epoch) for index in task.indices]
