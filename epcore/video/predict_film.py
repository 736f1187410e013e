"""The person in every frame of a film: decoded, looked at and drawn at the same time, by three threads.

A frame's crop depends on the pose before, so one thread does all looking, in order. Another decodes ahead of it; who draws and
writes does so in a third (`Behind`). FFmpeg, the kernels and the plan's crew compute without Python's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from typing import Any

from epcore.inference.engine import Engine
from epcore.pose.predict import Pose, predict_pixels
from epcore.video.follow import Follower
from epcore.video.reader import FilmReader, Frame
from epcore.video.smooth import OneEuro

AHEAD = 4  # frames that wait between two threads: as much memory as that


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
    real_time: bool = False,
    sound: Callable[[Any], None] | None = None,
) -> Iterator[FilmPose]:
    """Poses of a film, frame after frame.

    engine: of `epcore.compile` or `epcore.inference.engine`. follower: where to look; a new one by default. smoothing: None
    leaves keypoints as the network has them; the crop follows these in any case. Where a person is lost, as at a cut, the
    frame is looked at once more, all of it, and smoothing begins anew. real_time: as of `predict`. sound: takes the packets
    of the film's sound, in the thread that decodes.

    Memory is a few frames', however long the film is. Raises as `predict`, and ValueError where a frame cannot be decoded to
    what it says it is.
    """
    follower = Follower() if follower is None else follower
    for frame in ahead(film.read(sound)):
        box = follower.box
        pose = predict_pixels(frame.pixels, engine, box=box, margin=1.0, real_time=real_time)
        if not follower.see(pose) and box is not None:
            pose = predict_pixels(frame.pixels, engine, real_time=real_time)
            follower.see(pose)
            if smoothing:
                smoothing.reset()
        yield FilmPose(frame, smoothing.smooth(pose, frame.time) if smoothing else pose)


def ahead(items: Iterator[Frame]) -> Iterator[Frame]:
    """The same items, made by another thread before they are asked for."""
    queue: Queue[tuple[Frame | None, BaseException | None]] = Queue(AHEAD)
    stop = threading.Event()

    def put(item: Frame | None, error: BaseException | None = None) -> None:
        while not stop.is_set():
            with suppress(Full):
                queue.put((item, error), timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(None, error)

    thread = threading.Thread(target=work, daemon=True, name="epcore-decode")
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()


class Behind:
    """A thread that does what it is told, in order, while the caller goes on; at most AHEAD tasks wait.

    An error of a task is raised by the next call, and no later task is done.
    """

    def __init__(self) -> None:
        self._queue: Queue[Callable[[], None] | None] = Queue(AHEAD)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="epcore-draw")
        self._thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Raises what an earlier task raised."""
        self._raise()
        self._queue.put(task)

    def close(self) -> None:
        """Wait until all is done. Raises what a task raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if self._error is None:
                try:
                    task()
                except BaseException as error:
                    self._error = error
