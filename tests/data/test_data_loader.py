"""Batches: the same for any number of processes, resumable, cleanly ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from epcore.data.augment import Augmentation
from epcore.data.loader import Batch, Loader
from epcore.data.record import Record
from epcore.data.synthetic import SyntheticFigures
from epcore.data.workers import Workers
from epcore.pose.encode import render_targets
from epcore.pose.preprocess import normalize

FIGURES = SyntheticFigures(11, seed=2, size=64, variety="hard")
OPTIONS = {"batch_size": 4, "resolution": 64, "seed": 9, "augmentation": Augmentation()}


def contents(batch: Batch) -> list[np.ndarray]:
    assert batch.targets is not None
    assert batch.targets.upscaled is not None
    targets = batch.targets
    maps = [targets.pafs, targets.confs, targets.upscaled, targets.pafs_mask, targets.confs_mask]
    return [batch.x, *maps, batch.keypoints, batch.annotated, batch.visible, batch.matrices]


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert (one.epoch, one.step) == (other.epoch, other.step)
        assert [truth.name for truth in one.truths] == [truth.name for truth in other.truths]
        for a, b in zip(contents(one), contents(other), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def reference() -> list[Batch]:
    with Loader(FIGURES, **OPTIONS) as loader:  # type: ignore[arg-type]
        return [batch for epoch in (0, 1) for batch in loader.epoch(epoch, sigma=6.0)]


@pytest.mark.parametrize("workers", [1, 2])
def test_same_batches_for_any_number_of_processes(reference: list[Batch], workers: int) -> None:
    with Loader(FIGURES, workers=workers, **OPTIONS) as loader:  # type: ignore[arg-type]
        found = [batch for epoch in (0, 1) for batch in loader.epoch(epoch, sigma=6.0)]
        assert_same(found, reference)
        # stop early, then go on elsewhere: nothing left over from before gets in
        batches = loader.epoch(0, sigma=6.0)
        assert_same([next(batches)], reference[:1])
        batches.close()
        assert_same(list(loader.epoch(1, sigma=6.0, start_step=1)), reference[3:])


def test_epochs_and_seeds_differ(reference: list[Batch]) -> None:
    assert len(reference) == 4
    assert (reference[0].x != reference[2].x).any()
    other = Loader(FIGURES, **{**OPTIONS, "seed": 10})  # type: ignore[arg-type]
    assert [truth.name for truth in next(other.epoch(0)).truths] != [truth.name for truth in reference[0].truths]


def test_resuming_at_a_step(reference: list[Batch]) -> None:
    loader = Loader(FIGURES, **OPTIONS)  # type: ignore[arg-type]
    assert_same(list(loader.epoch(1, sigma=6.0, start_step=1)), reference[3:])
    assert list(loader.epoch(1, sigma=6.0, start_step=2)) == []
    with pytest.raises(ValueError, match="start_step is 3, expected 0 to 2"):
        next(loader.epoch(0, start_step=3))


def test_shards_are_parts_of_the_whole_batch(reference: list[Batch]) -> None:
    shards = [list(Loader(FIGURES, shard=(rank, 2), **OPTIONS).epoch(0, sigma=6.0)) for rank in (0, 1)]  # type: ignore[arg-type]
    for step, (first, second) in enumerate(zip(*shards, strict=True)):
        for whole, one, other in zip(contents(reference[step]), contents(first), contents(second), strict=True):
            np.testing.assert_array_equal(whole, np.concatenate([one, other]))


def names_of(batches: list[Batch]) -> list[str]:
    return [truth.name for batch in batches for truth in batch.truths]


def matrices_of(batches: list[Batch]) -> list[np.ndarray]:
    return [matrix for batch in batches for matrix in batch.matrices]


def test_every_record_once_an_epoch_and_rest_kept_if_asked() -> None:
    loader = Loader(replace(FIGURES, fresh=False), drop_last=False, **OPTIONS)  # type: ignore[arg-type]
    names = [truth.name for batch in loader.epoch(3) for truth in batch.truths]
    assert sorted(names) == sorted(FIGURES.record(index).name for index in range(11))
    assert [len(batch.x) for batch in loader.epoch(3)] == [4, 4, 3]
    assert next(loader.epoch(3)).targets is None
    assert names != sorted(names)
    turned = [
        dict(zip(names_of(batches), matrices_of(batches), strict=True)) for batches in map(list, map(loader.epoch, (3, 4)))
    ]
    assert all((turned[0][name] != turned[1][name]).any() for name in names)  # the same picture is changed anew
    ordered = Loader(FIGURES, shuffle=False, **OPTIONS)  # type: ignore[arg-type]
    assert [truth.name for truth in next(ordered.epoch(0)).truths] == [FIGURES.record(index).name for index in range(4)]


def test_unaugmented_input_is_the_picture_normalised() -> None:
    batch = next(Loader(FIGURES, batch_size=2, resolution=64, shuffle=False).epoch(0, sigma=5.0))
    record = FIGURES.record(1)
    np.testing.assert_array_equal(batch.x[1], normalize(record.pixels()))
    np.testing.assert_allclose(batch.keypoints[1], record.keypoints, atol=1e-9)
    expected = render_targets([[(record.keypoints, record.annotated)]], 64, 5.0)
    assert batch.targets is not None
    np.testing.assert_allclose(batch.targets.confs[1], expected.confs[0], atol=1e-6)
    assert batch.x.dtype == np.float32


def test_keypoints_of_the_input_go_back_to_the_picture(reference: list[Batch]) -> None:
    """Flips included: sides come back too."""
    flipped = 0
    for batch in reference:
        flipped += int((np.linalg.det(batch.matrices[..., :2]) < 0).sum())
        back = batch.to_pictures(batch.keypoints)
        for points, truth in zip(back, batch.truths, strict=True):
            np.testing.assert_allclose(points, truth.keypoints, atol=1e-6)
    assert 0 < flipped < 16


def test_people_main_or_all() -> None:
    """Others in the picture appear in the targets only if asked for."""
    index = next(
        index for index in range(11) if FIGURES.record(index).others and FIGURES.record(index).others[0].annotated.any()
    )
    options = {"batch_size": 11, "resolution": 64, "shuffle": False}
    main = next(Loader(FIGURES, people="main", **options).epoch(0, sigma=3.0)).targets  # type: ignore[arg-type]
    everyone = next(Loader(FIGURES, people="all", **options).epoch(0, sigma=3.0)).targets  # type: ignore[arg-type]
    assert main is not None
    assert everyone is not None
    assert (everyone.confs >= main.confs).all()
    assert (everyone.confs[index] > main.confs[index] + 0.5).any()
    np.testing.assert_array_equal(everyone.confs_mask, main.confs_mask)


@dataclass(frozen=True)
class Broken:
    """Record 2 cannot be read."""

    figures: SyntheticFigures = field(default=FIGURES)

    def __len__(self) -> int:
        return 6

    def record(self, index: int, epoch: int = 0) -> Record:
        if index == 2:
            raise ValueError("picture number two is damaged")
        return self.figures.record(index, epoch)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_reach_the_caller(workers: int) -> None:
    with Loader(Broken(), batch_size=2, resolution=64, shuffle=False, workers=workers) as loader:
        batches = loader.epoch(0)
        next(batches)
        with pytest.raises(ValueError, match="picture number two is damaged"):
            next(batches)


def test_a_crop_of_no_size_is_named() -> None:
    class Pointless:
        def __len__(self) -> int:
            return 1

        def record(self, index: int, epoch: int = 0) -> Record:
            return replace(FIGURES.record(0), name="someone", scale=0.0)

    with pytest.raises(ValueError, match=r"someone: .* give a crop of 0 pixels"):
        next(Loader(Pointless(), batch_size=1, resolution=64).epoch(0))


def test_waiting_time_is_counted() -> None:
    loader = Loader(FIGURES, **OPTIONS)  # type: ignore[arg-type]
    began = time.perf_counter()
    list(loader.epoch(0, sigma=6.0))
    assert 0 < loader.seconds_waited <= time.perf_counter() - began


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 12}, "11 pictures, fewer than one batch of 12"),
        ({"resolution": 60}, "resolution is 60"),
        ({"shard": (2, 2)}, "shard is"),
        ({"shard": (0, 3)}, "multiple of the 3 ranks"),
        ({"shard": (0, 2), "drop_last": False}, "drop_last"),
        ({"people": "some"}, "people is 'some'"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(FIGURES, **{**OPTIONS, **options})  # type: ignore[arg-type]


def identity(value: int) -> int:
    return value


def end_at_three(value: int) -> int:
    if value == 3:
        os._exit(7)
    return value


def test_workers_keep_the_order_and_say_when_they_die() -> None:
    workers = Workers(identity, 2)
    try:
        assert list(workers.map(range(20))) == list(range(20))
        assert list(workers.map([])) == []
        results = workers.map(range(20))
        assert next(results) == 0
        results.close()  # three more are on their way
        for process in multiprocessing.active_children():
            if process.name.startswith("loader-") and process.pid:
                os.kill(process.pid, signal.SIGINT)  # Ctrl-C is for the parent to handle
        assert list(workers.map(range(5))) == list(range(5))
    finally:
        workers.close()
    workers = Workers(end_at_three, 2)
    try:
        results = workers.map(range(20))
        with pytest.raises(RuntimeError, match=r"loader-1 ended unexpectedly \(exit code 7\)"):
            list(results)
    finally:
        workers.close()


PARENT = """
import multiprocessing, os, sys, time
from epcore.data.loader import Loader
from epcore.data.synthetic import SyntheticFigures

if __name__ == "__main__":
    batches = Loader(SyntheticFigures(1000, size=64), batch_size=4, resolution=64, workers=2).epoch(0, sigma=5.0)
    next(batches)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if alive(pid)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
