"""Tracks of markers (.trc), as OpenSim, Sports2D and Pose2Sim read them: a film's keypoints in metres.

Pixels become metres by the person's height: it is taken to be the median over the film of head_top to upper_neck to thorax to
pelvis, and from the hips to the knees to the ankles (mean of both legs), plus the height of the ankles above the ground, 3.9 %
of the body's (Winter, Biomechanics and Motor Control of Human Movement, 2009, figure 4.1). That is right where the person
stands upright and the camera looks level at a constant distance; who sits or crosses the picture towards the camera is not
measured so.

X points to the right of the picture, Y up, Z is 0; the origin is the picture's lower left corner. Missing keypoints are
NaN. The rate is the film's average; the times are each frame's own.
"""

from __future__ import annotations

from typing import IO

import numpy as np

from epcore.pose.formats.observation import Observation, TextFile
from epcore.pose.skeleton import KEYPOINTS

ANKLE_HEIGHT = 0.039  # of the body's height
_UPPER = ("head_top", "upper_neck", "thorax", "pelvis")
_LEGS = tuple((f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("right", "left"))


class TrcFile:
    """height: of the person, metres. name: the file's own, which its first line holds. Places are kept until `finish`: the head
    of the file needs them all. They take 260 bytes a frame.
    """

    def __init__(self, file: IO[bytes], name: str, height: float) -> None:
        self._file, self._name, self._height = TextFile(file), name, height
        self._frames: list[tuple[int, float, np.ndarray]] = []

    def add(self, observation: Observation) -> None:
        if observation.frame is None or observation.time is None:
            raise ValueError(f"{observation.source} is a picture: a .trc file holds the frames of a film")
        places = observation.pose.points
        places[:, 1] = observation.pose.height - places[:, 1]
        self._frames.append((observation.frame, observation.time, places))

    def finish(self) -> None:
        """Raises ValueError where no frame shows the person from head to ankle."""
        tracks = np.array([places for _, _, places in self._frames]).reshape(-1, len(KEYPOINTS), 2)
        metres = self._height / standing_height(tracks) if len(tracks) else 1.0
        rate = _rate([time for _, time, _ in self._frames])
        count, first = len(self._frames), self._frames[0][0] + 1 if self._frames else 1
        self._line("PathFileType", 4, "(X/Y/Z)", self._name)
        self._line(
            "DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"
        )
        self._line(rate, rate, count, len(KEYPOINTS), "m", rate, first, count)
        self._line("Frame#", "Time", *(cell for name in KEYPOINTS for cell in (name, "", "")))
        self._line("", "", *(f"{axis}{number}" for number in range(1, len(KEYPOINTS) + 1) for axis in "XYZ"))
        self._line()
        for frame, time, places in self._frames:
            cells = [cell for x, y in places * metres for cell in _place(x, y)]
            self._line(frame + 1, f"{time:.6f}", *cells)

    def _line(self, *cells: object) -> None:
        self._file.write("\t".join(map(str, cells)) + "\n")


def standing_height(tracks: np.ndarray) -> float:
    """tracks (N,J,2) -> the person's height in the same units. Raises ValueError where no frame has all the keypoints."""
    heights = _length(tracks, _UPPER) + np.mean([_length(tracks, leg) for leg in _LEGS], axis=0)
    known = heights[np.isfinite(heights) & (heights > 0)]
    if not known.size:
        raise ValueError("no frame shows the person from head to ankle: the height cannot be measured")
    return float(np.median(known)) / (1 - ANKLE_HEIGHT)


def _length(tracks: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(N,) of the line through these keypoints."""
    line = tracks[:, [KEYPOINTS.index(name) for name in names]]
    steps = np.diff(line, axis=1)
    length: np.ndarray = np.hypot(steps[..., 0], steps[..., 1]).sum(axis=1)
    return length


def _rate(times: list[float]) -> float:
    """Frames a second, on the average."""
    span = times[-1] - times[0] if len(times) > 1 else 0.0
    return round((len(times) - 1) / span, 4) if span > 0 else 1.0


def _place(x: float, y: float) -> tuple[str, str, str]:
    return ("NaN", "NaN", "NaN") if np.isnan(x) or np.isnan(y) else (f"{x:.5f}", f"{y:.5f}", "0.00000")
