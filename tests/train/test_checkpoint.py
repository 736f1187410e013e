"""Checkpoints: whole or not at all, for the run they belong to; what is killed: `test_kills.py`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from train_helpers import assert_same_state, tiny

from epcore.base import staging
from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.trainer import Trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with Trainer(tiny(average=0.9), folder) as trainer:
        trainer.run()
    return folder


def test_round_trip(run: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(run / "checkpoint.npz")
    assert (checkpoint.step, checkpoint.epoch, checkpoint.epoch_step) == (4, 2, 0)
    assert checkpoint.parameters.keys() == EfficientPose("RT").parameters.keys()
    assert set(checkpoint.optimizer) == {"momentum"}
    checkpoint.save(tmp_path / "again.npz")
    again = Checkpoint.load(tmp_path / "again.npz")
    assert_same_state(checkpoint, again)
    assert (again.config, again.best, again.network) == (checkpoint.config, checkpoint.best, checkpoint.network)


def test_evaluated_weights_are_the_average(run: Path) -> None:
    checkpoint = Checkpoint.load(run / "checkpoint.npz")
    model = EfficientPose("RT")
    checkpoint.restore(model, "x", evaluated=True)
    name = "pass3.confs/kernel"
    np.testing.assert_array_equal(model.parameters[name], checkpoint.average[name])
    assert not np.array_equal(checkpoint.average[name], checkpoint.parameters[name])
    np.testing.assert_array_equal(
        model.parameters["high.stem_bn/moving_mean"], checkpoint.parameters["high.stem_bn/moving_mean"]
    )


class FullDisk:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if self.file.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 1000, 1_000_000])
def test_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    folder = tmp_path / "run"
    with Trainer(tiny(), folder) as trainer:
        trainer.run(should_stop=lambda: trainer.steps_done == 2)
        good = (folder / "checkpoint.npz").read_bytes()
        open_descriptor = os.fdopen
        with monkeypatch.context() as patch:
            patch.setattr(staging.os, "fdopen", lambda number, mode: FullDisk(open_descriptor(number, mode), room))
            with pytest.raises(
                OSError, match=r"no space left to write .*checkpoint\.npz; an earlier checkpoint there is still good"
            ):
                trainer.run()
    assert (folder / "checkpoint.npz").read_bytes() == good
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.npz", "config.toml", "log.jsonl"]  # unlocked again
    with Trainer.resume(folder) as resumed, Trainer(tiny(), tmp_path / "whole") as whole:
        assert resumed.run()
        assert whole.run()
    assert_same_state(Checkpoint.load(folder / "checkpoint.npz"), Checkpoint.load(tmp_path / "whole/checkpoint.npz"))


def test_another_variant_is_refused(run: Path) -> None:
    checkpoint = Checkpoint.load(run / "checkpoint.npz")
    other = EfficientPose("I")
    before = {name: array.copy() for name, array in other.parameters.items()}
    with pytest.raises(ValueError, match=r"checkpoint\.npz is a checkpoint of EfficientPose RT, expected EfficientPose I$"):
        checkpoint.restore(other, run / "checkpoint.npz")
    with pytest.raises(
        ValueError, match=r"skeleton_free\.npz: pass2\.block1\.mbconv1\.expand_conv/kernel has shape \(1, 1, 160, 240\)"
    ):
        checkpoint.restore(EfficientPose("RT", skeleton=False), "skeleton_free.npz")
    for name, array in other.parameters.items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match="checkpoint of EfficientPose RT, expected EfficientPose I"):
        Trainer(tiny(model="I", init=str(run)), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.1}, r"cannot resume: rate is 0\.1, but the run was started with 0\.0002"),
        ({"epochs": 5}, r"epochs is 5, but the run was started with 2"),
        ({"model": "I"}, r"model is 'I', but the run was started with 'RT'"),
        ({"seed": 8}, r"seed is 8"),
    ],
)
def test_resume_with_a_changed_configuration_is_refused(run: Path, changes: dict[str, Any], message: str) -> None:
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ValueError, match=message):
        Trainer.resume(run, tiny(average=0.9, **changes))
    assert {path.name: path.read_bytes() for path in run.iterdir()} == files


def test_what_the_result_does_not_depend_on_may_change(run: Path) -> None:
    with Trainer.resume(run, tiny(average=0.9, log_every=7, workers=1)) as trainer:
        assert trainer.run()
    assert TrainConfig.from_toml(run / "config.toml").log_every == 7


def test_an_existing_run_is_not_overwritten(run: Path) -> None:
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ValueError, match="already has a run"):
        Trainer(tiny(), run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == files


def test_damaged_and_missing_files(run: Path, tmp_path: Path) -> None:
    data = bytearray((run / "checkpoint.npz").read_bytes())
    (tmp_path / "short.npz").write_bytes(data[: len(data) // 2])
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(data)
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for name in ("short", "flipped", "text", "other"):
        with pytest.raises(ValueError, match=rf"{name}\.npz is not a checkpoint, or it is damaged"):
            Checkpoint.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*nothing\.npz"):
        Checkpoint.load(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError, match=r"there is no run to resume"):
        Trainer.resume(tmp_path)
