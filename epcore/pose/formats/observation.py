"""What a format writes: one pose and where it was seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, Any, Protocol

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


class ArrayFile:
    """An array of JSON, an item a line; complete once it is finished."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._empty = TextFile(file), True

    def write(self, item: dict[str, Any]) -> None:
        self._file.write(("[\n" if self._empty else ",\n") + json.dumps(item, allow_nan=False))
        self._empty = False

    def finish(self) -> None:
        self._file.write("[]\n" if self._empty else "\n]\n")


def rounded(value: float | None, digits: int = 3) -> float | None:
    """None for what is missing or NaN."""
    return None if value is None or np.isnan(value) else round(float(value), digits)
