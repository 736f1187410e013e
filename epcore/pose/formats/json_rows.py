"""epcore's own JSON: an array of all poses, or one line for each ("JSON lines"), which other programs can read as it grows."""

from __future__ import annotations

import json
from typing import IO, Any

from epcore.pose.formats.observation import ArrayFile, Observation, TextFile, rounded


def row(observation: Observation) -> dict[str, Any]:
    """Of a picture: image, id where persons have some, and what `Pose.to_json` has; of a film frame and time, s, instead of
    image."""
    if observation.frame is None:
        place: dict[str, Any] = {"image": observation.source}
    else:
        place = {"frame": observation.frame, "time": rounded(observation.time, 6)}
    if observation.person is not None:
        place["id"] = observation.person
    return {**place, **observation.pose.to_json()}


class JsonLines:
    """One object a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = TextFile(file)

    def add(self, observation: Observation) -> None:
        self._file.write(json.dumps(row(observation), allow_nan=False) + "\n")

    def finish(self) -> None:
        pass


class JsonArray:
    """An array, a row a line; complete once it is finished."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = ArrayFile(file)

    def add(self, observation: Observation) -> None:
        self._file.write(row(observation))

    def finish(self) -> None:
        self._file.finish()
