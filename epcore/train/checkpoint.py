"""Checkpoints: all a training needs to go on bit for bit, in one .npz file that is replaced at once or not at all.

    parameters/<name>   every array of the network, running statistics included
    optimizer/<name>    the optimizer's state, e.g. momentum, one flat vector each
    average/<name>      the moving average of the weights, if there is one
    state               JSON as bytes: position, configuration, drop-connect's seed, best result; see `Checkpoint`

Random numbers are drawn afresh for every step from [seed, epoch, step], so the position is the random state.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from epcore.base.staging import open_atomically, second_name
from epcore.network import Network

FORMAT = 1


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of these, or a broken .npz that might be; weight files may be .npz too."""
    if os.fspath(path).endswith(".npz"):
        try:
            with zipfile.ZipFile(path) as file:
                return "state.npy" in file.namelist()
        except zipfile.BadZipFile:
            return True
    return False


@dataclass(frozen=True)
class Checkpoint:
    """step: of the whole training, made so far; epoch and epoch_step: the next one. Arrays are NumPy's.

    optimizer_steps: updates made by the optimizer. best: highest validation PCKh@50 so far. config: `TrainConfig.to_dict()`.
    """

    network: str
    step: int
    epoch: int
    epoch_step: int
    config: dict[str, Any]
    parameters: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray] = field(default_factory=dict)
    optimizer_steps: int = 0
    average: dict[str, np.ndarray] = field(default_factory=dict)
    best: float | None = None

    def save(self, path: str | os.PathLike[str], *, keep: str | os.PathLike[str] | None = None) -> None:
        """Write it; the file that was there stays until the new one is complete, and then as `keep`.

        Raises OSError naming the path, and ValueError rather than replace a good checkpoint by one with NaN in it.
        """
        for name, array in self.parameters.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{path} is not written: {name} has values that are NaN or infinite")
        state = {
            "format": FORMAT, "network": self.network, "step": self.step, "epoch": self.epoch, "epoch_step": self.epoch_step,
            "config": self.config, "optimizer_steps": self.optimizer_steps, "best": self.best,
        }  # fmt: skip
        arrays: dict[str, Any] = {"state": np.frombuffer(json.dumps(state).encode(), np.uint8)}
        for group in ("parameters", "optimizer", "average"):
            arrays |= {f"{group}/{name}": array for name, array in getattr(self, group).items()}
        try:
            with open_atomically(path) as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
                if keep is not None and os.path.exists(path):
                    second_name(path, keep)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OSError(
                    errno.ENOSPC, f"no space left to write {os.fspath(path)}; an earlier checkpoint there is still good"
                ) from None
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Raises FileNotFoundError, or ValueError for a file that is no checkpoint or is damaged."""
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no checkpoint {os.fspath(path)}")
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}  # the zip's checksums are verified here
            state = json.loads(arrays.pop("state").tobytes())
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{os.fspath(path)} is not a checkpoint, or it is damaged: {error}") from None
        if state.pop("format", None) != FORMAT:
            raise ValueError(f"{os.fspath(path)} is a checkpoint of another version, expected format {FORMAT}")
        groups: dict[str, dict[str, np.ndarray]] = {"parameters": {}, "optimizer": {}, "average": {}}
        for name, array in arrays.items():
            group, _, key = name.partition("/")
            groups[group][key] = array
        return cls(
            **state, parameters=groups["parameters"], optimizer=groups["optimizer"], average=groups["average"]
        )  # fmt: skip

    def evaluated(self) -> dict[str, np.ndarray]:
        """Parameters with the moving average in place of what it averages: what is evaluated and shipped."""
        return self.parameters | self.average

    def restore(self, network: Network, path: str | os.PathLike[str], *, evaluated: bool = False) -> None:
        """Put the parameters into a network, as they were or `evaluated`. path: for messages.

        Everything is checked first. Raises ValueError naming what differs for a checkpoint of another network.
        """
        parameters = self.evaluated() if evaluated else self.parameters
        if self.network != network.name:
            raise ValueError(f"{os.fspath(path)} is a checkpoint of {self.network}, expected {network.name}")
        specs = network.graph.parameters
        for name in dict.fromkeys((*specs, *parameters)):
            shape = parameters[name].shape if name in parameters else None
            wanted = specs[name].shape if name in specs else None
            if shape != wanted:
                raise ValueError(f"{os.fspath(path)}: {name} has shape {shape}, {network.name} has {wanted}")
        for name in specs:
            network.parameters[name] = parameters[name].astype(network.dtype)
