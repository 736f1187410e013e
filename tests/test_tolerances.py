"""The tolerances tell right from wrong: what is right is inside, and small mistakes, planted, are outside."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from tolerances import EPS, gradients_and_bounds, outputs_and_bounds, settle

import epcore
from epcore.network import Network
from epcore.ops import eswish
from epcore.tape import Tape


def test_outputs() -> None:
    """One weight of hundreds of thousands off by a hundredth, and one shift by a thousandth."""
    model, x = settle(epcore.EfficientPose("RT")), np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    exact, bounds = outputs_and_bounds(model, x)

    def worst(name: str = "", index: int | slice = 0, factor: float = 1.0) -> float:
        """Largest error in units of the bound, with part of a parameter multiplied by a factor."""
        changed = copy.deepcopy(model)
        if name:
            changed.parameters[name].reshape(-1)[index] *= np.float32(factor)
        with epcore.use_backend("reference"):
            return max(np.abs(maps - exact[label]).max() / bounds[label] for label, maps in changed.run(x).items())

    assert worst() <= 1
    assert worst("high.block2a.dwconv/kernel", 7, 1.01) > 1
    assert worst("high.block2a.project_bn/beta", slice(None), 1.001) > 1


def test_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative of one activation off by 1e-4, in float32; gradients that are zero are among those that stay inside."""
    model = epcore.EfficientPose("RT").train()
    model.drop_connect = False

    def step(network: Network, tape: Tape) -> dict[str, np.ndarray]:
        x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(network.dtype)
        outputs, watched = network.record(x, tape)
        tape.backward(tape.apply("mse", outputs["confs3"], np.ones(outputs["confs3"].shape, network.dtype)))
        return {name: gradient for name, tensor in watched.items() if (gradient := tape.gradient(tensor)) is not None}

    exact, bounds = gradients_and_bounds(model, step)

    def worst() -> float:
        with epcore.use_backend("reference"):
            found = step(copy.deepcopy(model), Tape())
        return max(np.abs(found[name] - exact[name]).max() / (bounds[name] * EPS) for name in exact)

    assert any(np.abs(exact[name]).max() < bounds[name] * EPS for name in exact), "none of them is zero but for rounding"
    assert worst() <= 1
    right = eswish.backward
    monkeypatch.setattr(eswish, "backward", lambda dy, saved, beta=1.25: (right(dy, saved, beta=beta)[0] * 1.0001,))
    assert worst() > 1
