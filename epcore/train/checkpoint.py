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

from epcore.base.files import decoding
from epcore.base.guarded import read_guarded
from epcore.base.staging import open_atomically, second_name
from epcore.network import Network
from epcore.weights_tools.formats import plain_npz

FORMAT = 1
_STATE: dict[str, Any] = {
    "network": str, "step": int, "epoch": int, "epoch_step": int, "config": dict, "optimizer_steps": int,
    "best": (int, float, type(None)),
}  # fmt: skip


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of these, or a broken .npz that might be; weight files may be .npz too."""
    if os.fspath(path).endswith(".npz"):
        try:
            with zipfile.ZipFile(path) as file:
                return "state.npy" in file.namelist()
        except OSError:
            raise
        except Exception:  # BadZipFile, and what zipfile meets damaged bytes with
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
    def load(cls, path: str | os.PathLike[str], *, trusted: bool = False) -> Checkpoint:
        """trusted: opened in this process, not in one of its own (`epcore.base.guarded`).

        Raises FileNotFoundError, or ValueError for a file that is no checkpoint or is damaged.
        """
        name = os.fspath(path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"there is no checkpoint {name}")
        try:
            arrays, _ = plain_npz(name) if trusted else read_guarded("epcore.weights_tools.formats:plain_npz", name)
            with decoding(name):
                return cls._of_arrays(name, arrays)
        except ValueError as error:
            reason = str(error).removeprefix(f"{name} is damaged: ").removeprefix(f"{name}: ")
            raise ValueError(f"{name} is not a checkpoint, or it is damaged: {reason}") from None

    @classmethod
    def _of_arrays(cls, name: str, arrays: dict[str, np.ndarray]) -> Checkpoint:
        if "state" not in arrays:
            raise ValueError(f"{name}: it has no entry state")
        state = json.loads(arrays.pop("state").tobytes())
        if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
            raise ValueError(f"{name}: it is of another version, expected format {FORMAT}")
        for key, value in state.items():
            if not isinstance(value, _STATE.get(key, ())) or isinstance(value, bool):
                raise ValueError(f"{name}: its state has {key!r} as {str(value)[:40]!r}")
        groups: dict[str, dict[str, np.ndarray]] = {"parameters": {}, "optimizer": {}, "average": {}}
        for key, array in arrays.items():
            group, _, inner = key.partition("/")
            if group not in groups or array.dtype.kind != "f":
                raise ValueError(f"{name}: it holds {key!r}, which no checkpoint does")
            groups[group][inner] = array
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
