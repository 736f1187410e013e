"""The folder of a run: what its files are called, when they are written, what is never overwritten, and that one run has it.

config.toml, log.jsonl        what was asked for, what happened
checkpoint.npz, previous.npz  where the run is, and where it was a checkpoint before; best.npz: where validation was best
weights.h5                    at the end: the network, for every other command
.lock                         while a process trains: see `epcore.base.locks`
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from epcore.base.locks import FolderLock
from epcore.base.notices import Notice
from epcore.base.staging import write_atomically
from epcore.export.weights import export_weights
from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.log import RunLog

CONFIG, LOG, WEIGHTS = "config.toml", "log.jsonl", "weights.h5"
CHECKPOINT, PREVIOUS, BEST = "checkpoint.npz", "previous.npz", "best.npz"


class RunFolder:
    """A run at `path`. Methods that write raise OSError naming the file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.log = RunLog(self.path / LOG)
        self._lock: FolderLock | None = None
        self._last_is_good = False  # a damaged checkpoint must not take the place of the good one before it

    def lock(self) -> None:
        """Take the folder, which exists, for this process until `close`. Raises BlockingIOError where another has it."""
        if self._lock is None:
            self._lock = FolderLock(self.path)

    def close(self) -> None:
        """Let others have it."""
        if self._lock:
            self._lock.release()
            self._lock = None

    def begin(self, config: TrainConfig) -> None:
        """A new run: its configuration and an empty log. Raises ValueError, with nothing written, where there is a run."""
        self._check_empty()
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock()
        try:
            self._check_empty()  # by whoever had it until now
        except ValueError:
            self.close()
            raise
        write_atomically(self.path / CONFIG, config.to_toml())
        write_atomically(self.log.path, "")

    def _check_empty(self) -> None:
        """A folder with a configuration only is as good as none: its process was killed before anything was learnt."""
        if any((self.path / name).exists() for name in (CHECKPOINT, PREVIOUS, BEST, WEIGHTS)):
            raise ValueError(f"{self.path} already has a run: resume it with --resume, or name another folder")

    def read_config(self) -> TrainConfig:
        """What the run was started with. Raises FileNotFoundError where there is no run."""
        if not (self.path / CONFIG).is_file():
            raise FileNotFoundError(f"{self.path} has no {CONFIG}: there is no run to resume")
        return TrainConfig.from_toml(self.path / CONFIG)

    def load(self) -> tuple[Checkpoint, Path] | None:
        """The last checkpoint and its file; where that is damaged, the one before it, and a Notice. None where there is none.

        Raises ValueError where no checkpoint can be read.
        """
        last, previous = self.path / CHECKPOINT, self.path / PREVIOUS
        if not last.exists() and not previous.exists():
            return None
        try:
            checkpoint = Checkpoint.load(last, trusted=True)
        except (ValueError, FileNotFoundError) as error:
            reason = str(error)
        else:
            self._last_is_good = True
            return checkpoint, last
        try:
            checkpoint = Checkpoint.load(previous, trusted=True)
        except (ValueError, FileNotFoundError) as error:
            best = self.path / BEST
            way_out = f"; {best} may be whole: a new run can start from it with --init" if best.exists() else ""
            raise ValueError(f"{reason}; {error}{way_out}") from None
        warnings.warn(f"{reason}; going on from {previous}, after step {checkpoint.step}", Notice, stacklevel=2)
        return checkpoint, previous

    def resume(self, config: TrainConfig, step: int) -> None:
        """Go on after a step: the log forgets what came later, for it happens again."""
        write_atomically(self.path / CONFIG, config.to_toml())
        self.log.rewind(step)

    def save(self, checkpoint: Checkpoint) -> None:
        """The last checkpoint; the one that was the last stays beside it."""
        checkpoint.save(self.path / CHECKPOINT, keep=self.path / PREVIOUS if self._last_is_good else None)
        self._last_is_good = True

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Of all checkpoints that were validated."""
        checkpoint.save(self.path / BEST)

    def write_weights(self, last: Checkpoint, variant: str | int) -> None:
        """The result as a weight file that every command takes: the best that was validated, else the last.

        Raises ValueError for a best checkpoint of another run.
        """
        best = self.path / BEST
        checkpoint = Checkpoint.load(best, trusted=True) if best.exists() else last
        try:
            TrainConfig.from_mapping(last.config).check_resumable(TrainConfig.from_mapping(checkpoint.config))
        except ValueError as error:
            raise ValueError(f"{best} is of another run, move it away: {error}") from None
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
