"""train() and eval(), running statistics as Keras keeps them, drop-connect, freezing, initialisers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tolerances import EPS, epsilons, outputs_and_bounds

from epcore import EfficientNet, EfficientPose, Tape
from epcore.graph import Parameter
from epcore.initializers import initialize
from epcore.network import Network
from epcore.ops.conv_transpose2d import bilinear_kernel


def batch(seed: int = 0, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, size, size, 3)).astype(np.float32)


def stem_output(model: Network, x: np.ndarray) -> np.ndarray:
    return model.run(x, capture=["stem_conv"])["stem_conv"]


class TestRunningStatistics:
    def test_one_step(self) -> None:
        """Keras 3: running = 0.99 * running + 0.01 * batch, the batch variance divided by N*H*W."""
        model = EfficientNet("B0", blocks=1)
        x = batch()
        stem = stem_output(model, x).astype(np.float64)
        model.train().run(x)
        mean, variance = 0.01 * stem.mean((0, 1, 2)), 0.99 + 0.01 * stem.var((0, 1, 2))
        # A handful of roundings: of the statistic, of the momentum, of two products and a sum. A mean is one of large values.
        atol = epsilons(1) * EPS * 0.01 * np.abs(stem).max()
        np.testing.assert_allclose(model.parameters["stem_bn/moving_mean"], mean, rtol=0, atol=atol)
        np.testing.assert_allclose(model.parameters["stem_bn/moving_variance"], variance, rtol=epsilons(1) * EPS)

    def test_converge_to_the_batch(self) -> None:
        """Training and inference agree once the running statistics have reached those of the batch."""
        model = EfficientNet("B0", blocks=1)
        model._frozen = ()
        x = batch()
        model.momentum = 0.0
        trained = model.train().run(x)["block1"]
        inferred = model.eval().run(x)["block1"]
        _, bounds = outputs_and_bounds(model, x)
        assert np.abs(trained - inferred).max() <= 2 * bounds["block1"]  # both round
        assert bounds["block1"] <= 1e-4 * np.abs(trained).max()

    def test_recording_on_a_tape_moves_them_too(self) -> None:
        model = EfficientNet("B0", blocks=1).train()
        before = model.parameters["stem_bn/moving_mean"].copy()
        model.record(batch(), Tape())
        assert not np.array_equal(model.parameters["stem_bn/moving_mean"], before)

    def test_inference_leaves_them(self) -> None:
        model = EfficientNet("B0", blocks=1)
        before = {name: array.copy() for name, array in model.parameters.items()}
        model.run(batch())
        assert all(np.array_equal(model.parameters[name], array) for name, array in before.items())


class TestDropConnect:
    def test_only_in_training(self) -> None:
        model = EfficientNet("B2", blocks=3)
        first, second = (model.run(batch())["block3"] for _ in range(2))
        assert np.array_equal(first, second)
        model.train()
        first, second = (model.run(batch())["block3"] for _ in range(2))
        assert not np.array_equal(first, second)

    def test_seeded(self) -> None:
        model = EfficientNet("B2", blocks=3).train()
        runs = []
        for _ in range(2):
            model.seed_drop_connect([3, 14])
            runs.append(model.run(batch())["block3"])
        assert np.array_equal(*runs)

    def test_rates_grow_with_depth(self) -> None:
        """0.2 * block index / blocks of the whole EfficientNet: B0 has 16 blocks, 2b is the third, 3b the fifth."""
        nodes = EfficientPose("RT").graph.nodes
        rates = {name: node.attributes["rate"] for name, node in nodes.items() if node.op == "drop_connect"}
        assert rates == {"high.block2b.drop_connect": 0.2 * 2 / 16, "high.block3b.drop_connect": 0.2 * 4 / 16}

    def test_low_branch_is_tapped_before_its_last_sum(self) -> None:
        nodes = EfficientPose("III").graph.nodes
        assert nodes["features"].inputs == ("high.block3e.add", "low.block2c.project_bn")
        assert "low.block2b.add" in nodes
        assert "low.block2c.add" not in nodes


def test_a_graph_that_is_assigned_is_the_one_that_runs() -> None:
    """Not the one that the network was made with: the same without drop-connect gives what leaving it out gives."""
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    model, other = (EfficientNet("B0").train() for _ in range(2))
    branches = [node for node in model.graph.nodes.values() if node.identity_at_inference]
    rates = {node.name: replace(node, attributes={"rate": 0.0}) for node in branches}
    model.graph = replace(model.graph, nodes={**model.graph.nodes, **rates})
    other.drop_connect = False
    assert rates
    for label, maps in other.run(x).items():
        np.testing.assert_array_equal(model.run(x)[label], maps)


class TestFreezing:
    def test_upscaling_by_default(self) -> None:
        model = EfficientPose("RT")
        assert not any(name.startswith("upscale") for name in model.trainable())
        assert "upscale1/kernel" in model.unfreeze().trainable()

    def test_frozen_backbone_gets_no_gradient_and_keeps_its_statistics(self) -> None:
        model = EfficientPose("RT").freeze("high.").train()
        before = {name: array.copy() for name, array in model.parameters.items() if name.startswith("high.")}
        tape = Tape()
        outputs, watched = model.record(batch(), tape)
        target = np.zeros(outputs["pafs"].shape, np.float32)
        tape.backward(tape.apply("mse", outputs["pafs"], target))
        assert not any(name.startswith("high.") for name in watched)
        assert tape.gradient(watched["pass1.pafs/kernel"]) is not None
        assert all(np.array_equal(model.parameters[name], array) for name, array in before.items())

    def test_moving_statistics_are_never_trainable(self) -> None:
        assert not any("moving" in name for name in EfficientPose("RT").unfreeze().trainable())

    def test_unknown_part(self) -> None:
        with pytest.raises(ValueError, match="starts with 'backbone'"):
            EfficientPose("RT").freeze("backbone")


class TestInitializers:
    def test_he(self) -> None:
        kernel = initialize(Parameter((3, 3, 64, 256), "he"), np.random.default_rng(0))
        assert kernel.dtype == np.float32
        # The standard deviation of n normal numbers is known to 1 / sqrt(2 n); four of those.
        assert abs(kernel.std() / np.sqrt(2 / (9 * 64)) - 1) < 4 / np.sqrt(2 * kernel.size)

    def test_depthwise_counts_its_own_channel_only(self) -> None:
        kernel = initialize(Parameter((5, 5, 4096), "he_depthwise"), np.random.default_rng(0))
        assert abs(kernel.std() / np.sqrt(2 / 25) - 1) < 4 / np.sqrt(2 * kernel.size)

    def test_bilinear_by_hand(self) -> None:
        line = np.array([0.25, 0.75, 0.75, 0.25])
        kernel = bilinear_kernel(2)
        assert np.array_equal(kernel[:, :, 0, 0], np.outer(line, line))
        assert not kernel[:, :, 0, 1].any()

    def test_seed(self) -> None:
        first, same, other = (EfficientPose("RT", seed=seed).parameters["high.stem_conv/kernel"] for seed in (1, 1, 2))
        assert np.array_equal(first, same)
        assert not np.array_equal(first, other)

    def test_unknown(self) -> None:
        with pytest.raises(ValueError, match="'glorot'"):
            initialize(Parameter((1,), "glorot"), np.random.default_rng(0))
