"""Keypoints of many pictures, one after another: the next one is read while the network works on this one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from epcore.base.ahead import ahead
from epcore.inference.engine import Engine, PoseModel, as_engine
from epcore.pose.picture import Picture, read_picture
from epcore.pose.predict import Pose, predict_pixels

PictureError = OSError | ValueError | TypeError  # what `read_picture` raises


def predict_many(
    pictures: Iterable[Picture], model: PoseModel, *, max_pixels: int | None = None, **options: Any
) -> Generator[Pose | PictureError]:
    """`predict` of picture after picture: for each, in their order, its pose or the error of a picture that cannot be read.

        for path, pose in zip(paths, epcore.predict_many(paths, plan)):
            if isinstance(pose, Exception):
                print(f"{path}: {pose}")

    pictures: any iterable, also an endless one, of anything that `predict` takes, mixed. It is advanced, and its pictures are
        read, by a thread of its own, one picture ahead: two are in memory at most. Arrays are copied before it is advanced, so
        that it may fill one again and again. The network computes in the calling thread.
    model, max_pixels, options: as of `predict`; a plan (`epcore.compile`) is several times faster than a network.

    An error is that of one picture, given as a value and not raised, and the rest are done. What is raised ends the iteration:
    errors of the model or of the options, as `predict` does, and what `pictures` itself raises. The thread ends with the
    generator: when it is exhausted, closed, dropped or left by an exception, after the picture that it is reading.
    """
    return _predict_each(pictures, as_engine(model), max_pixels, options)


def _predict_each(
    pictures: Iterable[Picture], engine: Engine, max_pixels: int | None, options: dict[str, Any]
) -> Generator[Pose | PictureError]:
    with closing(ahead(_read_each(pictures, max_pixels))) as read:
        for pixels in read:
            yield pixels if isinstance(pixels, Exception) else predict_pixels(pixels, engine, **options)


def _read_each(pictures: Iterable[Picture], max_pixels: int | None) -> Iterator[np.ndarray | PictureError]:
    for picture in pictures:
        try:
            pixels = read_picture(picture, max_pixels=max_pixels)
        except (OSError, ValueError, TypeError) as error:
            yield error
            continue
        if isinstance(picture, np.ndarray) and np.may_share_memory(picture, pixels):
            pixels = pixels.copy()  # cameras fill one array again and again
        yield pixels
        del pixels  # or it would be kept while the next is read
