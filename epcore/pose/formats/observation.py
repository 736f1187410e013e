"""What a format writes: one pose and where it was seen."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from epcore.pose.predict import Pose


@dataclass(frozen=True)
class Observation:
    """source: file of the picture or film. frame: its number in a film, the first 0; time: seconds on the film's clock; None
    for pictures. image_id: as a data set numbers its pictures; None: by file name or order. person: the id of one of several
    in a picture.
    """

    source: str
    pose: Pose
    frame: int | None = None
    time: float | None = None
    image_id: int | None = None
    person: str | None = None

    @property
    def stem(self) -> str:
        """The source's name without folder and ending."""
        return stem_of(self.source)


def stem_of(source: str) -> str:
    """A file's name without folder and ending, so short that something can be put behind it: names may have 255 bytes."""
    return os.fsdecode(os.fsencode(Path(source).stem)[:200])


class Format(Protocol):
    """One output of poses."""

    def add(self, observation: Observation) -> None:
        """Raises ValueError for what the format cannot say, OSError where it cannot be written."""

    def finish(self) -> None:
        """Write what is still due; the file is not closed."""


class TextFile:
    """UTF-8 into a binary file, bytes of names that are none as they were."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode(errors="surrogateescape"))


def rounded(value: float | None, digits: int = 3) -> float | None:
    """None for what is missing or NaN."""
    return None if value is None or np.isnan(value) else round(float(value), digits)
