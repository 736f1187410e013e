"""What a run has come to: network, optimizer, moving average and position. A checkpoint holds all of it, and gives it back."""

from __future__ import annotations

import os

from epcore.base.arrays import Array, to_device_of, to_numpy
from epcore.network import Network
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.loss import loss_weights
from epcore.train.optimizers import OPTIMIZERS, MovingAverage
from epcore.train.setup import build_model
from epcore.train.vector import ParameterVector


class TrainingState:
    """The state of one run, at its beginning.

    model: the whole network. network: what is trained of it, up to the maps of the loss; its parameters are the model's.
    vector: those parameters and their gradient as one array each. start: whether the weights are the configuration's; else a
    checkpoint's follow.
    """

    def __init__(self, config: TrainConfig, *, start: bool = True) -> None:
        self.config = config
        self.model = build_model(config, start=start).eval()
        if config.backend == "cuda":
            self.model.to("cuda")
        self.loss_weights = loss_weights(
            self.model, pafs=config.weight_pafs, pass2=config.weight_pass2, pass3=config.weight_pass3, last_map=config.last_map
        )
        self.network = Network(self.model.graph.pruned(*self.loss_weights), self.model.name).train()
        self.network.parameters = self.model.parameters  # one and the same dict
        self.network.momentum = config.batch_norm_momentum
        self.network.drop_connect = config.drop_connect
        if "upscaled" in self.loss_weights:
            self.network.freeze("upscale")
        if config.freeze:
            self.network.freeze(*config.freeze.split(","))
        self.vector = ParameterVector(self.network)
        self.optimizer = OPTIMIZERS[config.optimizer](self.vector.values)
        self.average = MovingAverage(self.vector.values, config.average) if config.average else None
        self.steps_done = self.next_epoch = self.next_step = 0
        self.best: float | None = None  # PCKh@50, percent, of the validations so far

    def averages(self) -> dict[str, Array]:
        """The moving average by parameter name; empty if there is none."""
        return self.vector.split(self.average.values) if self.average else {}

    def checkpoint(self) -> Checkpoint:
        """All that `restore` needs."""
        return Checkpoint(
            network=self.model.name,
            step=self.steps_done,
            epoch=self.next_epoch,
            epoch_step=self.next_step,
            config=self.config.to_dict(),
            parameters={name: to_numpy(self.model.parameters[name]) for name in self.model.graph.parameters},
            optimizer={name: to_numpy(array) for name, array in self.optimizer.state.items()},
            optimizer_steps=self.optimizer.steps,
            average={name: to_numpy(array) for name, array in self.averages().items()},
            best=self.best,
        )

    def restore(self, checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
        """Raises ValueError, the state unchanged, for a checkpoint of another network or configuration."""
        self.config.check_resumable(TrainConfig.from_mapping(checkpoint.config))
        checkpoint.restore(self.model, path)
        if self.config.backend == "cuda":
            self.model.to("cuda")
        self.network.parameters = self.model.parameters
        self.vector = ParameterVector(self.network)
        self.optimizer = OPTIMIZERS[self.config.optimizer](self.vector.values)
        self.optimizer.load_state(
            {name: to_device_of(self.vector.values, array) for name, array in checkpoint.optimizer.items()},
            checkpoint.optimizer_steps,
        )
        for name, view in self.averages().items():
            view[...] = to_device_of(view, checkpoint.average[name])
        self.steps_done, self.next_epoch, self.next_step = checkpoint.step, checkpoint.epoch, checkpoint.epoch_step
        self.best = checkpoint.best
