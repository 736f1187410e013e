"""A film of a walking figure whose keypoints are known: the crop follows it, through a cut as well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from film_files import ramps, write_film

import epcore
from epcore.data.walking import WalkingFigure
from epcore.evaluate.pckh import normalized_distances
from epcore.inference.engine import Engine
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose.box import Box
from epcore.pose.predict import predict_pixels
from epcore.pose.skeleton import KEYPOINTS
from epcore.video import FilmReader, Follower, OneEuro, predict_film
from epcore.video.behind import Behind

MINIMUM = 0.5  # of the weights that come with epcore
COUNTED = [index for index, name in enumerate(KEYPOINTS) if name not in ("thorax", "pelvis")]


@pytest.fixture(scope="module")
def plan() -> Engine:
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, next(iter(SHIPPED_WEIGHTS.values())), trusted=True)
    return epcore.compile(model)


class Seen:
    """What a film showed, beside the truth."""

    def __init__(self, figure: WalkingFigure, path: Path, plan: Engine) -> None:
        records = [figure.record(index) for index in range(len(figure))]
        write_film(path, (record.pixels() for record in records), crf="20")
        self.truth = np.array([record.keypoints for record in records])
        self._heads = np.array([record.head_box for record in records])
        with FilmReader.open(path) as film:
            seen = list(predict_film(film, plan, follower=Follower(MINIMUM)))
        self.points = np.array([each.pose.points for each in seen])
        self.times = [each.time for each in seen]
        self.boxes = [each.pose.box for each in seen]
        single = [predict_pixels(each.frame.pixels, plan, box=Box.around(self.truth[each.number])) for each in seen]
        self.single = np.array([pose.points for pose in single])

    def distances(self, points: np.ndarray) -> np.ndarray:
        return normalized_distances(points, self.truth, ~np.isnan(self.truth).any(axis=-1), self._heads)

    def pckh(self, points: np.ndarray, frames: slice = slice(None)) -> float:
        distances = self.distances(points)[frames, COUNTED]
        return 100 * float(np.mean(distances[~np.isnan(distances)] <= 0.5))

    def jitter(self, points: np.ndarray) -> float:
        """Median change of the error from frame to frame, pixels."""
        return float(np.nanmedian(np.abs(np.diff(points - self.truth, axis=0))))


@pytest.fixture(scope="module")
def walk(plan: Engine, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return Seen(WalkingFigure(60), tmp_path_factory.mktemp("walk") / "walk.mp4", plan)


def test_as_good_as_single_pictures(walk: Seen) -> None:
    assert walk.times == pytest.approx(np.arange(60) / 25)
    assert walk.pckh(walk.single) > 90  # the comparison would say nothing otherwise
    assert walk.pckh(walk.points) >= walk.pckh(walk.single) - 1


def test_the_crop_is_around_the_person(walk: Seen) -> None:
    assert walk.boxes[0] is None
    for truth, box in zip(walk.truth[1:], walk.boxes[1:], strict=True):
        assert box is not None and box.width < 480
        assert (truth >= (box.x, box.y)).all() and (truth <= (box.x + box.width, box.y + box.height)).all()


def test_smoothing_steadies_and_does_not_lag_much(walk: Seen) -> None:
    filter_ = OneEuro()
    smooth = np.array(
        [
            filter_.filter(points, time, box.width if box else 640.0)
            for points, time, box in zip(walk.points, walk.times, walk.boxes, strict=True)
        ]
    )  # fmt: skip
    assert walk.jitter(smooth) < 0.7 * walk.jitter(walk.points)
    assert walk.pckh(smooth) >= walk.pckh(walk.points) - 1


@pytest.mark.slow
def test_three_hundred_frames(plan: Engine, tmp_path: Path) -> None:
    """No drift: the last third is as good as the first."""
    seen = Seen(WalkingFigure(300), tmp_path / "walk.mp4", plan)
    assert seen.pckh(seen.points) >= seen.pckh(seen.single) - 1
    first, last = (float(np.nanmedian(seen.distances(seen.points)[part])) for part in (slice(0, 100), slice(200, 300)))
    assert last < 1.5 * first


def test_a_cut(plan: Engine, tmp_path: Path) -> None:
    """The other scene has the person on the other side of the picture: lost, looked for everywhere, followed again."""
    seen = Seen(WalkingFigure(24, seed=1, cut=12), tmp_path / "cut.mp4", plan)
    jump = np.abs(seen.truth[12, 9] - seen.truth[11, 9]).max()
    assert jump > 200
    assert seen.pckh(seen.points, slice(13, None)) >= seen.pckh(seen.single, slice(13, None)) - 5


# ---- with an engine whose maps are known


class Corner:
    """All keypoints in one place of a 32x32 input, sure in frames whose first pixel is bright."""

    name, resolution, preprocessing, source = "corner", 32, "imagenet", None

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: np.ndarray) -> Any:
        self.calls += 1
        maps = np.zeros((1, 32, 32, len(KEYPOINTS)), np.float32)
        for index in range(len(KEYPOINTS)):
            maps[0, 12 + index // 2, 12 + index % 4, index] = 0.9 if x.max() > 0 else 0.05
        return SimpleNamespace(final=maps)


def test_where_the_person_is_lost_the_frame_is_looked_at_again(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (250, 250, 0, 0, 250, 250)]
    write_film(tmp_path / "a.mkv", frames, codec="ffv1", pixels="bgr0")
    engine = Corner()
    with FilmReader.open(tmp_path / "a.mkv") as film:
        boxes = [each.pose.box for each in predict_film(film, engine, real_time=True)]
    assert [box is None for box in boxes] == [True, False, True, True, True, False]
    assert engine.calls == 7  # the third twice


def test_an_error_of_the_decoder_arrives_and_no_thread_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "a.mp4", ramps(30))
    before = threading.active_count()
    with FilmReader.open(tmp_path / "a.mp4") as film:
        poses = predict_film(film, Corner())
        next(poses)
        poses.close()  # in the middle
    assert threading.active_count() == before

    def broken(self: FilmReader, sound: object) -> Iterator[Any]:
        raise ValueError("a.mp4 is broken")
        yield

    with FilmReader.open(tmp_path / "a.mp4") as film:
        monkeypatch.setattr(FilmReader, "read", broken)
        with pytest.raises(ValueError, match=r"a\.mp4 is broken"):
            list(predict_film(film, Corner()))
    assert threading.active_count() == before


def test_what_is_done_behind_is_done_in_order_and_its_error_arrives() -> None:
    done: list[int] = []
    with Behind() as behind:
        for number in range(20):
            behind.do(lambda number=number: done.append(number))
    assert done == list(range(20))

    def fail() -> None:
        with Behind() as behind:
            behind.do(lambda: print(1 / 0))
            for _ in range(20):
                behind.do(lambda: done.append(99))

    with pytest.raises(ZeroDivisionError):
        fail()
    assert 99 not in done
