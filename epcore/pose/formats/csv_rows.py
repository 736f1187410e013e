"""CSV, long and wide.

long   a line for each keypoint: where, width, height, keypoint, x, y, score
wide   a line for each pose: where, width, height, score, then x, y and score of each keypoint (head_top_x, head_top_y, ...)

"Where" is image for pictures, with id where persons have some, frame and time (s) for films. Pixels, empty where missing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import IO

from epcore.pose.formats.observation import Observation, TextFile, rounded
from epcore.pose.skeleton import KEYPOINTS

Cell = str | float | None


class CsvTable:
    """Lines of CSV. The columns that say where are those of the first observation."""

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        self._file, self._columns, self._begun, self._ids = TextFile(file), columns, False, False

    def line(self, observation: Observation, cells: Sequence[Cell]) -> None:
        film = observation.frame is not None
        if not self._begun:
            self._ids = observation.person is not None
            self._write([*(("frame", "time") if film else ("image",)), *(("id",) if self._ids else ()), *self._columns])
            self._begun = True
        where: list[Cell] = [observation.frame, rounded(observation.time, 6)] if film else [observation.source]
        if self._ids:
            where.append(observation.person)
        self._write([*where, *cells])

    def finish(self) -> None:
        if not self._begun:
            self._write(["frame", "time", *self._columns])

    def _write(self, cells: Sequence[Cell]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue())


class LongCsv(CsvTable):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, ("width", "height", "keypoint", "x", "y", "score"))

    def add(self, observation: Observation) -> None:
        pose = observation.pose
        for point in pose.to_json()["keypoints"]:
            self.line(observation, (pose.width, pose.height, point["name"], point["x"], point["y"], point["score"]))


class WideCsv(CsvTable):
    def __init__(self, file: IO[bytes]) -> None:
        points = [f"{name}_{what}" for name in KEYPOINTS for what in ("x", "y", "score")]
        super().__init__(file, ("width", "height", "score", *points))

    def add(self, observation: Observation) -> None:
        pose = observation.pose
        points = [point[what] for point in pose.to_json()["keypoints"] for what in ("x", "y", "score")]
        self.line(observation, (pose.width, pose.height, rounded(pose.score, 4), *points))
