"""A run that is killed again and again ends where an uninterrupted one does, bit for bit, and nothing else is damaged."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from train_helpers import assert_same_state, tiny

from epcore.base.locks import LOCK
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.log import RunLog
from epcore.train.run_folder import BEST, CHECKPOINT, CONFIG, LOG, PREVIOUS, WEIGHTS
from epcore.train.trainer import Trainer

STEPS_A_LIFE = (1, 4)
RUN = {CONFIG, LOG, CHECKPOINT, PREVIOUS, BEST, WEIGHTS}
# Not the run's, though some look like it.
NOTES = {"notes.txt": "mine", ".epcore-notes.tmp": "mine as well", "checkpoint.npz.old": "an old one"}
TEMPORARY = re.compile(r"\.epcore-[0-9a-f]{16}\.tmp")


def check_whole(folder: Path, config: TrainConfig) -> None:
    """Every file of a run that was killed just now is whole, and there are no others but temporary ones."""
    names = {path.name for path in folder.iterdir() if not TEMPORARY.fullmatch(path.name)}
    assert names <= RUN | {LOCK} | NOTES.keys()
    if CONFIG in names:
        assert TrainConfig.from_toml(folder / CONFIG) == config
    if LOG in names:
        RunLog(folder / LOG).read()
    for name in names & {CHECKPOINT, PREVIOUS, BEST}:
        Checkpoint.load(folder / name)


def steps(folder: Path) -> list[tuple[Any, ...]]:
    """What the log says of each step and validation, but for times."""
    keys = ("event", "step", "epoch", "loss", "rate", "gradient_norm", "pckh50")
    events = [event for event in RunLog(folder / LOG).read() if event["event"] in ("step", "validation")]
    return [tuple(event.get(key) for key in keys) for event in events]


def kill_and_resume(folder: Path, times: int) -> None:
    rng = random.Random(times)
    config = tiny(pictures=16, epochs=max(3, times * 4 // 5), average=0.9, validate_every=2, checkpoint_every=1)
    with Trainer(config, folder / "whole") as whole:  # 4 steps an epoch
        whole.run()
    killed = folder / "killed"
    killed.mkdir()
    for name, text in NOTES.items():
        (killed / name).write_text(text)
    (folder / "killed.toml").write_text(config.to_toml())
    begin = [sys.executable, "-m", "epcore", "train", "--output", str(killed)]
    log = killed / LOG
    for life in range(times):
        resume = ["--resume"] if (killed / CONFIG).exists() else ["--config", str(folder / "killed.toml")]
        process = subprocess.Popen([*begin, *resume], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        seen, target = None, rng.randint(*STEPS_A_LIFE)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            count = log.read_text().count('"step", "step"') if log.exists() else 0
            restarted = log.exists() and log.read_text().count('"event": "resume"') == life
            if restarted and seen is None:
                seen = count
            if seen is not None and count >= seen + target:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait() in (-signal.SIGKILL, 0)
        assert seen is not None, "the process never came so far as to train"
        check_whole(killed, config)
    subprocess.run([*begin, "--resume"], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert {path.name for path in killed.iterdir()} == RUN | NOTES.keys()
    assert {name: (killed / name).read_text() for name in NOTES} == NOTES
    for name in (CHECKPOINT, PREVIOUS, BEST):
        assert_same_state(Checkpoint.load(folder / "whole" / name), Checkpoint.load(killed / name))
    for name in (CONFIG, WEIGHTS):
        assert (folder / "whole" / name).read_bytes() == (killed / name).read_bytes()
    assert steps(folder / "whole") == steps(killed)


def test_killed_three_times(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 3)


@pytest.mark.slow
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 100)
