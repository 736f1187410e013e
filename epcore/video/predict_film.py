"""The person in every frame of a film: decoded, looked at and drawn at the same time, by three threads.

A frame's crop depends on the pose before, so one thread does all looking, in order. Another decodes ahead of it; who draws and
writes does so in a third (`behind.py`). FFmpeg, the kernels and the plan's crew compute without Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from epcore.base.ahead import ahead
from epcore.inference.engine import Engine
from epcore.pose.predict import Pose, predict_pixels
from epcore.video.follow import Follower
from epcore.video.reader import FilmReader, Frame
from epcore.video.smooth import OneEuro

AHEAD = 4  # frames that are decoded before they are asked for: as much memory as that


@dataclass(frozen=True)
class FilmPose:
    """frame: with its pixels. pose: in pixels of the frame; `pose.box` is where it was looked for, None the whole frame."""

    frame: Frame
    pose: Pose

    @property
    def number(self) -> int:
        return self.frame.number

    @property
    def time(self) -> float:
        """Seconds since the film's beginning."""
        return self.frame.time


def predict_film(
    film: FilmReader,
    engine: Engine,
    *,
    follower: Follower | None = None,
    smoothing: OneEuro | None = None,
    sound: Callable[[Any], None] | None = None,
    **reading: Any,
) -> Generator[FilmPose, None, None]:
    """Poses of a film, frame after frame.

    engine: of `epcore.compile` or `epcore.inference.engine`. follower: where to look; a new one by default. smoothing: None
    leaves keypoints as the network has them; the crop follows these in any case. Where a person is lost, as at a cut, the
    frame is looked at once more, all of it, and smoothing begins anew. sound: takes the packets of the
    film's sound, in the thread that decodes. reading: real_time, method, coarse, flip, scales, as of `predict`.

    Memory is a few frames', however long the film is. Raises as `predict`, and ValueError where a frame cannot be decoded to
    what it says it is.
    """
    follower = Follower() if follower is None else follower
    with closing(ahead(film.read(sound), AHEAD)) as frames:
        yield from _followed(frames, engine, follower, smoothing, reading)


def _followed(
    frames: Iterator[Frame], engine: Engine, follower: Follower, smoothing: OneEuro | None, reading: dict[str, Any]
) -> Iterator[FilmPose]:
    for frame in frames:
        box = follower.box
        pose = predict_pixels(frame.pixels, engine, box=box, margin=1.0, **reading)
        if not follower.see(pose) and box is not None:
            pose = predict_pixels(frame.pixels, engine, **reading)
            follower.see(pose)
            if smoothing:
                smoothing.reset()
        yield FilmPose(frame, smoothing.smooth(pose, frame.time) if smoothing else pose)
