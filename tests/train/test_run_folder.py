"""The folder of a run by itself, without a training: names, what is refused, what a resumed run finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from train_helpers import tiny

from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.run_folder import BEST, CHECKPOINT, CONFIG, LOG, WEIGHTS, RunFolder, checkpoint_path
from epcore.weights_tools.load import load_weights


def checkpoint(seed: int, step: int = 3) -> Checkpoint:
    model = EfficientPose("RT", seed=seed)
    return Checkpoint(model.name, step, 1, 0, tiny().to_dict(), dict(model.parameters))


def kernel_of(seed: int) -> np.ndarray:
    return EfficientPose("RT", seed=seed).parameters["pass1.pafs/kernel"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_names_that_other_programs_know() -> None:
    assert (CONFIG, LOG, CHECKPOINT, BEST, WEIGHTS) == (
        "config.toml",
        "log.jsonl",
        "checkpoint.npz",
        "best.npz",
        "weights.h5",
    )


def test_nothing_is_there_before_it_begins(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "deep/run")
    assert not (tmp_path / "deep").exists()
    with pytest.raises(FileNotFoundError, match=r"run has no config\.toml: there is no run to resume"):
        run.read_config()
    run.begin(tiny(seed=8))
    assert set(files(run.path)) == {CONFIG, LOG}
    assert run.read_config() == tiny(seed=8)
    assert run.log.read() == []


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(tiny())
    run.log.write("step", step=1)
    run.begin(tiny(seed=4))  # killed before its first checkpoint: nothing is lost
    assert run.log.read() == []
    run.save(checkpoint(1))
    before = files(tmp_path)
    with pytest.raises(ValueError, match="already has a run: resume it with --resume, or name another folder"):
        run.begin(tiny(seed=5))
    assert files(tmp_path) == before


def test_resuming_forgets_the_steps_to_come_and_keeps_the_rest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(tiny())
    run.save(checkpoint(1))
    for step in range(5):
        run.log.write("step", step=step)
    run.log.write("end", step=3)
    run.resume(tiny(log_every=7), 3)
    assert run.log.read() == [{"event": "step", "step": step} for step in range(4)]
    assert TrainConfig.from_toml(tmp_path / CONFIG).log_every == 7
    assert Checkpoint.load(run.checkpoint).step == 3


@pytest.mark.parametrize("validated", [False, True])
def test_the_result_is_the_best_or_the_last(validated: bool, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin(tiny())
    run.save(checkpoint(1))
    if validated:
        run.save_best(checkpoint(2))
    assert checkpoint_path(tmp_path) == tmp_path / (BEST if validated else CHECKPOINT)
    run.write_weights(checkpoint(1), "RT")
    model = EfficientPose("RT", seed=9)
    load_weights(model, tmp_path / WEIGHTS)
    np.testing.assert_array_equal(model.parameters["pass1.pafs/kernel"], kernel_of(2 if validated else 1))


def test_paths_of_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*checkpoint\.npz"):
        checkpoint_path(tmp_path)
    (tmp_path / "w.h5").touch()
    assert checkpoint_path(str(tmp_path / "w.h5")) == tmp_path / "w.h5"
