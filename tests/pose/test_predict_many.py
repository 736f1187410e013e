"""`predict_many` gives what `predict` gives, in order, whatever the pictures are and however it is left."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import epcore
from epcore.pose.skeleton import KEYPOINTS


class LevelModel:
    """Sees the person in the column that the picture's grey level names: other pictures, other keypoints."""

    resolution = 16

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        maps = np.zeros((1, 16, 16, len(KEYPOINTS)), np.float32)
        maps[0, 3, int((x[0, 8, 8, 0] * 0.229 + 0.485) * 15.99)] = 1
        return SimpleNamespace(final=maps)


def level(number: int) -> np.ndarray:
    return np.full((16, 16, 3), 16 * number + 8, np.uint8)


def no_reader_is_left() -> bool:
    return all(thread.name != "epcore-ahead" for thread in threading.enumerate())


def test_every_kind_of_picture_in_order(tmp_path: Path) -> None:
    kinds: list[Any] = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.fromarray(level(number)).save(path)
        kinds.append(
            (str(path), path, io.BytesIO(path.read_bytes()), level(number), Image.fromarray(level(number)))[number % 5]
        )
    model = LevelModel()
    expected = [epcore.predict(level(number), model) for number in range(12)]
    assert len({pose.keypoints[0].x for pose in expected}) == 12  # or order would go unseen
    assert list(epcore.predict_many(kinds, model)) == expected


def test_a_bad_picture_is_a_value_and_the_rest_are_done(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    pictures: list[Any] = [level(1), tmp_path / "missing.png", level(2), tmp_path / "text.jpg", np.zeros((4, 4)), 7, level(3)]
    model = LevelModel()
    found = list(epcore.predict_many(pictures, model))
    for picture, pose in zip(pictures, found, strict=True):
        if isinstance(pose, Exception):
            with pytest.raises(type(pose)) as alone:
                epcore.predict(picture, model)
            assert str(alone.value) == str(pose)
        else:
            assert pose == epcore.predict(picture, model)
    kinds = [type(each) for each in found]
    assert kinds == [epcore.Pose, FileNotFoundError, epcore.Pose, ValueError, TypeError, TypeError, epcore.Pose]


def test_options_reach_the_prediction() -> None:
    class Doubtful(LevelModel):
        def __call__(self, x: np.ndarray) -> SimpleNamespace:
            return SimpleNamespace(final=super().__call__(x).final * np.float32(0.2))

    (pose,) = epcore.predict_many([level(1)], Doubtful(), real_time=True)
    assert not isinstance(pose, Exception) and not pose.keypoints[0].found
    (error,) = epcore.predict_many([io.BytesIO(_png(level(1)))], LevelModel(), max_pixels=100)
    assert "more than 100 pixels" in str(error)
    with pytest.raises(TypeError, match="no_such_option"):
        list(epcore.predict_many([level(1)], LevelModel(), no_such_option=1))


def test_one_array_filled_again_and_again() -> None:
    """As cameras do it."""
    frame = np.empty((16, 16, 3), np.uint8)

    def frames() -> Iterator[np.ndarray]:
        for number in range(12):
            frame[:] = level(number)
            yield frame

    model = LevelModel()
    assert list(epcore.predict_many(frames(), model)) == [epcore.predict(level(number), model) for number in range(12)]


def test_errors_of_the_model_and_of_the_source_are_raised() -> None:
    class Broken(LevelModel):
        def __call__(self, x: np.ndarray) -> SimpleNamespace:
            raise ValueError("broken")

    def source() -> Iterator[np.ndarray]:
        yield level(1)
        raise OSError("unplugged")

    with pytest.raises(ValueError, match="broken"):
        list(epcore.predict_many([level(1)] * 3, Broken()))
    poses = epcore.predict_many(source(), LevelModel())
    assert next(poses) == epcore.predict(level(1), LevelModel())
    with pytest.raises(OSError, match="unplugged"):
        next(poses)
    assert no_reader_is_left()
    with pytest.raises(ValueError, match="training mode"):  # at once, not at the first picture
        epcore.predict_many([], epcore.EfficientPose("RT").train())


@pytest.mark.parametrize("how", ["close", "break", "exception"])
def test_an_endless_source_left_early(how: str) -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield level(1)

    poses = epcore.predict_many(endless(), LevelModel())
    next(poses)
    if how == "exception":
        with pytest.raises(ZeroDivisionError):
            _fail_at_the_next(poses)
    poses.close()
    assert no_reader_is_left()


def test_no_more_than_two_pictures_at_once() -> None:
    """One that the network works on, one that is read."""
    read = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal read
        for read in range(1, 13):  # noqa: B007
            yield level(1)

    for done, _ in enumerate(epcore.predict_many(source(), LevelModel())):
        assert read <= done + 2


IN_A_PROCESS = """
import os, signal, sys, threading
import numpy as np
import epcore
from types import SimpleNamespace
class Model:
    resolution = 16
    def __call__(self, x):
        return SimpleNamespace(final=np.ones((1, 16, 16, 16), np.float32))
def endless():
    number = 0
    while True:
        number += 1
        if number == 5 and sys.argv[1] == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        yield np.zeros((16, 16, 3), np.uint8)
poses = epcore.predict_many(endless(), Model())
next(poses)
if sys.argv[1] == "interrupt":
    try:
        for pose in poses: pass
    except KeyboardInterrupt:
        print([t.name for t in threading.enumerate() if t.name == "epcore-ahead"])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize(("what", "said"), [("interrupt", "[]\n"), ("end", "")])
def test_ctrl_c_and_the_end_of_the_process(what: str, said: str) -> None:
    """Neither Ctrl-C nor an interpreter that ends with a half-used generator hangs or says anything."""
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS, what], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def _fail_at_the_next(poses: Iterator[Any]) -> None:
    for _ in poses:
        raise ZeroDivisionError


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
