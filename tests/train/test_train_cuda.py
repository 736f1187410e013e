"""A training on the CUDA kernels, from the first step to the resumed run: on the stand-in for CuPy, and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cuda_on_host.devices import Device, device
from train_helpers import assert_same_state, tiny

from epcore.train.trainer import Trainer


@pytest.fixture(params=("stand-in", pytest.param("gpu", marks=pytest.mark.gpu)))
def gpu(request: pytest.FixtureRequest) -> Iterator[Device]:
    with device(request.param) as found:
        yield found


def losses(trainer: Trainer) -> list[float]:
    found: list[float] = []
    trainer.run(report=lambda result: found.append(result.loss))
    return found


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_losses_and_weights_are_the_cpus(gpu: Device, optimizer: str) -> None:
    """Two steps, whose sums have another order. 1e-5 is eighty roundings of float32: as many as there are layers."""
    config = tiny(epochs=1, optimizer=optimizer)
    with Trainer(tiny(epochs=1, optimizer=optimizer, backend="cuda"), None) as ours, Trainer(config, None) as theirs:
        np.testing.assert_allclose(losses(ours), losses(theirs), rtol=1e-5)
        assert isinstance(ours.vector.values, gpu.xp.ndarray)


def test_a_resumed_run_ends_with_the_same_bits(gpu: Device, tmp_path: Path) -> None:
    config = tiny(backend="cuda", validate_every=2)
    with Trainer(config, tmp_path / "whole") as whole:
        whole.run()
        expected = whole.checkpoint()
    with Trainer(config, tmp_path / "parts") as part:
        assert not part.run(should_stop=lambda: part.steps_done == 1)
    with Trainer.resume(tmp_path / "parts") as rest:
        assert rest.run()
        assert_same_state(rest.checkpoint(), expected)
        assert rest.best == expected.best
