"""The folder of a run by itself, without a training: names, what is refused, what a resumed run finds."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from train_helpers import tiny

from epcore.base.locks import LOCK
from epcore.base.notices import Notice
from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.log import RunLog
from epcore.train.run_folder import BEST, CHECKPOINT, CONFIG, LOG, PREVIOUS, WEIGHTS, RunFolder, checkpoint_path
from epcore.train.trainer import Trainer
from epcore.weights_tools.load import load_weights


def checkpoint(seed: int, step: int = 3) -> Checkpoint:
    model = EfficientPose("RT", seed=seed)
    return Checkpoint(model.name, step, 1, 0, tiny().to_dict(), dict(model.parameters))


def kernel_of(seed: int) -> np.ndarray:
    return EfficientPose("RT", seed=seed).parameters["pass1.pafs/kernel"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_names_that_other_programs_know() -> None:
    assert (CONFIG, LOG, CHECKPOINT, PREVIOUS, BEST, WEIGHTS) == (
        "config.toml",
        "log.jsonl",
        "checkpoint.npz",
        "previous.npz",
        "best.npz",
        "weights.h5",
    )


def test_nothing_is_there_before_it_begins(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "deep/run")
    assert not (tmp_path / "deep").exists()
    with pytest.raises(FileNotFoundError, match=r"run has no config\.toml: there is no run to resume"):
        run.read_config()
    run.begin(tiny(seed=8))
    assert set(files(run.path)) == {CONFIG, LOG, LOCK}
    run.close()
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
    assert Checkpoint.load(tmp_path / CHECKPOINT).step == 3


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


class TestLock:
    def test_one_process_and_one_user_in_it(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path)
        run.begin(tiny())
        before = files(tmp_path)
        with pytest.raises(BlockingIOError, match=rf"{tmp_path} is in use by process {os.getpid()} on .*: wait for its end"):
            RunFolder(tmp_path).begin(tiny(seed=4))
        with pytest.raises(BlockingIOError, match="is in use by process"):
            Trainer.resume(tmp_path)
        code = "import sys; from epcore.base.locks import FolderLock; from pathlib import Path; FolderLock(Path(sys.argv[1]))"
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert f"is in use by process {os.getpid()} on" in other.stderr
        assert files(tmp_path) == before
        run.close()
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        assert set(files(tmp_path)) == {CONFIG, LOG}

    def test_the_lock_of_a_killed_process_is_none(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from epcore.base.locks import FolderLock; from pathlib import Path; "
            "lock = FolderLock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        assert set(files(tmp_path)) == {LOCK}
        run = RunFolder(tmp_path)
        run.begin(tiny())
        assert f"process {os.getpid()} on" in (tmp_path / LOCK).read_text()
        run.close()

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("precious")
        (tmp_path / LOCK).symlink_to("precious")
        with pytest.raises(OSError):  # noqa: PT011
            RunFolder(tmp_path).begin(tiny())
        assert (tmp_path / "precious").read_text() == "precious"

    def test_no_locks_on_this_file_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(descriptor: int) -> bool:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("epcore.base.locks.try_lock", refuse)
        run = RunFolder(tmp_path)
        with pytest.warns(Notice, match="cannot be locked .No locks available.: let no other process use it"):
            run.begin(tiny())
        run.close()

    def test_a_refused_beginning_lets_the_folder_go(self, tmp_path: Path) -> None:
        (tmp_path / BEST).touch()
        with pytest.raises(ValueError, match="already has a run"):
            RunFolder(tmp_path).begin(tiny())
        (tmp_path / BEST).unlink()
        run = RunFolder(tmp_path)
        run.begin(tiny())
        run.close()


class TestTwoCheckpoints:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Iterator[RunFolder]:
        run = RunFolder(tmp_path)
        run.begin(tiny())
        for step in (1, 2, 3):
            run.save(checkpoint(step, step))
        yield run
        run.close()

    def test_the_last_two_are_kept(self, run: RunFolder) -> None:
        assert Checkpoint.load(run.path / CHECKPOINT).step == 3
        assert Checkpoint.load(run.path / PREVIOUS).step == 2
        assert set(files(run.path)) == {CONFIG, LOG, LOCK, CHECKPOINT, PREVIOUS}

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
    def test_the_older_one_is_taken_and_stays(self, run: RunFolder, damage: str) -> None:
        damaged = run.path / CHECKPOINT
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 0xFF
        match damage:
            case "missing":  # killed between two renames, where there are no second names
                damaged.unlink()
            case _:
                damaged.write_bytes({"cut": bytes(content[:1000]), "flipped": bytes(content), "empty": b""}[damage])
        again = RunFolder(run.path)
        with pytest.warns(Notice, match=rf"checkpoint\.npz.*; going on from {run.path / PREVIOUS}, after step 2"):
            found = again.load()
        assert found and found[0].step == 2 and found[1] == run.path / PREVIOUS
        again.save(checkpoint(4, 4))
        assert Checkpoint.load(run.path / PREVIOUS).step == 2  # the damaged one has not taken its place
        again.save(checkpoint(5, 5))
        assert Checkpoint.load(run.path / PREVIOUS).step == 4

    def test_where_none_is_whole_the_best_is_mentioned(self, run: RunFolder) -> None:
        for name in (CHECKPOINT, PREVIOUS):
            (run.path / name).write_text("x")
        with pytest.raises(ValueError, match=r"checkpoint\.npz is .*damaged.*previous\.npz is .*damaged") as caught:
            run.load()
        assert BEST not in str(caught.value)
        run.save_best(checkpoint(6))
        with pytest.raises(ValueError, match=r"best\.npz may be whole: a new run can start from it with --init"):
            run.load()

    def test_another_runs_best_is_not_taken_for_this_ones(self, run: RunFolder) -> None:
        run.save_best(replace(checkpoint(6), config=tiny(seed=99).to_dict()))
        with pytest.raises(ValueError, match=r"best\.npz is of another run, move it away: .*seed is 3, .*99"):
            run.write_weights(checkpoint(3), "RT")
        assert not (run.path / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b'{"step": 1}\n', 2), (b"[1]\n", 2), (b"3\n", 2), (b"{nonsense\n", 2), (b"\xff\n", 2), (b"[" * 100_000 + b"\n", 2),
        (b'{"event": "step", "step": "x"}\n', 2), (b"\n", 2),
    ],
)  # fmt: skip
def test_lines_that_are_no_events_are_named(line: bytes, number: int, tmp_path: Path) -> None:
    log = RunLog(tmp_path / LOG)
    log.write("start", step=0)
    log.path.write_bytes(log.path.read_bytes() + line + b'{"event": "end", "step": 4}\n')
    for act in (log.read, lambda: log.rewind(3)):
        with pytest.raises(ValueError, match=rf"log\.jsonl: line {number} is no event, expected"):
            act()


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    log = RunLog(tmp_path / LOG)
    log.write("start", step=0)
    log.path.write_bytes(log.path.read_bytes() + b'{"event": "st')
    assert [event["event"] for event in log.read()] == ["start"]
    log.rewind(0)
    log.write("resume", step=0)
    assert [event["event"] for event in log.read()] == ["start", "resume"]
