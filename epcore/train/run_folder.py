"""The folder of a run: what its files are called, when they are written, what is never overwritten.

config.toml, log.jsonl      what was asked for, what happened
checkpoint.npz              where the run is; best.npz: where validation was best
weights.h5                  at the end: the network, for every other command
"""

from __future__ import annotations

import os
from pathlib import Path

from epcore.base.files import write_atomically
from epcore.export.weights import export_weights
from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.log import RunLog

CONFIG, LOG, WEIGHTS = "config.toml", "log.jsonl", "weights.h5"
CHECKPOINT, BEST = "checkpoint.npz", "best.npz"


class RunFolder:
    """A run at `path`. Methods that write raise OSError naming the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.log = RunLog(self.path / LOG)

    @property
    def checkpoint(self) -> Path:
        """Where the last checkpoint is, or will be."""
        return self.path / CHECKPOINT

    def begin(self, config: TrainConfig) -> None:
        """A new run: its configuration and an empty log. Raises ValueError, with nothing written, where there is a run."""
        if self.checkpoint.exists():
            raise ValueError(f"{self.path} already has a run: resume it with --resume, or name another folder")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / CONFIG, config.to_toml())
        write_atomically(self.log.path, "")

    def read_config(self) -> TrainConfig:
        """What the run was started with. Raises FileNotFoundError where there is no run."""
        if not (self.path / CONFIG).is_file():
            raise FileNotFoundError(f"{self.path} has no {CONFIG}: there is no run to resume")
        return TrainConfig.from_toml(self.path / CONFIG)

    def resume(self, config: TrainConfig, step: int) -> None:
        """Go on after a step: the log forgets what came later, for it happens again."""
        write_atomically(self.path / CONFIG, config.to_toml())
        self.log.rewind(step)

    def save(self, checkpoint: Checkpoint) -> None:
        checkpoint.save(self.checkpoint)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Of all checkpoints that were validated."""
        checkpoint.save(self.path / BEST)

    def write_weights(self, last: Checkpoint, variant: str | int) -> None:
        """The result as a weight file that every command takes: the best that was validated, else the last."""
        best = self.path / BEST
        checkpoint = Checkpoint.load(best, trusted=True) if best.exists() else last
        model = EfficientPose(variant)
        checkpoint.restore(model, best, evaluated=True)
        export_weights(model, self.path / WEIGHTS)


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The path itself, or of a run's folder its best checkpoint, else its last. Raises FileNotFoundError."""
    path = Path(path)
    if path.is_dir():
        path = path / BEST if (path / BEST).exists() else path / CHECKPOINT
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return path
