"""A training small enough for tests: RT at 32 pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig

TINY = TrainConfig(
    pictures=8,
    batch_size=4,
    epochs=2,
    resolution=32,
    variety="easy",
    workers=0,
    validation_pictures=2,
    validate_every=0,
    checkpoint_every=100,
    log_every=1,
    seed=3,
)


def tiny(**changes: Any) -> TrainConfig:
    return replace(TINY, **changes)


def assert_same_state(one: Checkpoint, two: Checkpoint) -> None:
    """Bit for bit: position, parameters, running statistics, optimizer, moving average."""
    assert (one.step, one.epoch, one.epoch_step, one.optimizer_steps) == (
        two.step,
        two.epoch,
        two.epoch_step,
        two.optimizer_steps,
    )
    for group in ("parameters", "optimizer", "average"):
        ours, theirs = getattr(one, group), getattr(two, group)
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name], err_msg=f"{group}/{name}")
