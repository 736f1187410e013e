"""The training loop: it learns, it is deterministic, it stops where it must."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from train_helpers import assert_same_state, tiny

from epcore.backend import use_backend
from epcore.models import EfficientPose
from epcore.train.checkpoint import Checkpoint
from epcore.train.config import TrainConfig
from epcore.train.range_test import range_test
from epcore.train.setup import load_start
from epcore.train.trainer import DivergedError, Trainer
from epcore.weights_tools.load import load_weights


def test_overfits_eight_pictures() -> None:
    """The loss falls below 1 % of its start: every part of the network can be moved where the loss wants it."""
    config = tiny(
        repeat=True, batch_size=8, epochs=50, optimizer="adam", rate=3e-3, schedule="constant", sigma_start=1.0, sigma_end=1.0,
        drop_connect=False, flip=0.0, rotation=0.0, scale_min=1.0, scale_max=1.0,
    )  # fmt: skip
    losses = []
    with Trainer(config, None) as trainer:
        assert trainer.run(report=lambda result: losses.append(result.loss))
    assert len(losses) == 50
    assert losses[-1] < 0.01 * losses[0]


@pytest.mark.parametrize(("optimizer", "schedule"), [("sgd", "cyclical"), ("rmsprop", "cosine")])
def test_every_optimizer_learns(optimizer: str, schedule: str) -> None:
    config = tiny(
        repeat=True, batch_size=8, epochs=25, optimizer=optimizer, rate=2e-3, schedule=schedule, sigma_start=1.0,
        sigma_end=1.0, flip=0.0, rotation=0.0, scale_min=1.0, scale_max=1.0,
    )  # fmt: skip
    losses = []
    with Trainer(config, None) as trainer:
        trainer.run(report=lambda result: losses.append(result.loss))
    assert losses[-1] < 0.5 * losses[0]


def test_same_seed_same_bits_whoever_prepares_the_pictures() -> None:
    states = []
    for workers in (0, 1):
        with Trainer(tiny(epochs=1, workers=workers), None) as trainer:
            trainer.run()
            states.append(trainer.checkpoint())
    assert_same_state(*states)
    with Trainer(tiny(epochs=1, seed=4), None) as trainer:
        trainer.run()
        assert not np.array_equal(trainer.checkpoint().optimizer["momentum"], states[0].optimizer["momentum"])


def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    """Stopped in the middle of an epoch; with moving average and drop-connect."""
    config = tiny(average=0.9, epochs=3)
    with Trainer(config, tmp_path / "whole") as whole:
        assert whole.run()
    with Trainer(config, tmp_path / "parts") as first:
        assert not first.run(should_stop=lambda: first.steps_done == 3)
    assert Checkpoint.load(tmp_path / "parts/checkpoint.npz").epoch_step == 1
    with Trainer.resume(tmp_path / "parts") as second:
        assert second.steps_done == 3
        assert second.run()
    assert_same_state(Checkpoint.load(tmp_path / "whole/checkpoint.npz"), Checkpoint.load(tmp_path / "parts/checkpoint.npz"))
    events = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [event["event"] for event in events if event["event"] != "step"] == ["start", "interrupted", "resume", "end"]


def test_log_and_best_checkpoint(tmp_path: Path) -> None:
    with Trainer(tiny(validate_every=1), tmp_path / "run") as trainer:
        trainer.run()
    events = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    step = next(event for event in events if event["event"] == "step")
    assert set(step["parts"]) == {"pafs", "confs2", "confs3"}
    assert step["loss"] == pytest.approx(sum(step["parts"].values()), rel=1e-5)
    assert 0 <= step["waiting"] <= 1
    assert step["pictures_per_second"] > 0
    assert step["rate"] == trainer.rate(0)
    validations = [event for event in events if event["event"] == "validation"]
    assert [event["epoch"] for event in validations] == [1, 2]
    best = Checkpoint.load(tmp_path / "run/best.npz")
    assert best.best == max(event["pckh50"] for event in validations)
    model = EfficientPose("RT", seed=9)
    load_start(model, tmp_path / "run")
    np.testing.assert_array_equal(model.parameters["pass1.pafs/kernel"], best.parameters["pass1.pafs/kernel"])
    shipped = EfficientPose("RT", seed=8)
    load_weights(shipped, tmp_path / "run/weights.h5")
    for name, array in best.parameters.items():
        np.testing.assert_array_equal(shipped.parameters[name], array)
    assert TrainConfig.from_toml(tmp_path / "run/config.toml") == trainer.config


def test_nan_stops_and_names_the_layer(tmp_path: Path) -> None:
    with Trainer(tiny(), tmp_path / "run") as trainer:
        trainer.run(should_stop=lambda: trainer.steps_done == 3)
        good = (tmp_path / "run/checkpoint.npz").read_bytes()
        trainer.network.parameters["pass2.block1.mbconv1.expand_bn/gamma"][3] = np.nan
        with pytest.raises(
            DivergedError, match=r"step 4 \(epoch 1, step 1\).*layer pass2\.block1\.mbconv1\.expand_bn.*kept in"
        ):
            trainer.run()
        with pytest.raises(ValueError, match=r"expand_bn/gamma has values that are NaN"):
            trainer.save()
    assert (tmp_path / "run/checkpoint.npz").read_bytes() == good


def test_infinite_gradient_is_named_and_not_applied() -> None:
    with Trainer(tiny(), None) as trainer:
        batch = next(trainer.loader.epoch(0, sigma=8.0))
        trainer.network.parameters["pass3.confs/bias"][:] = 1e19  # the loss is a number in float32, 1e38; its gradient times
        trainer.network.parameters["pass3.confs/kernel"][:] = 1e25  # the kernel is not
        before = trainer.vector.values.copy()
        with pytest.raises(DivergedError, match=r"diverged at step 1 \(epoch 0, step 0\)"):
            trainer.step(batch, 0.1)
        np.testing.assert_array_equal(trainer.vector.values, before)


def test_frozen_parts_and_upscaled_loss() -> None:
    config = tiny(freeze="high.", last_map="upscaled", epochs=1)
    with Trainer(config, None) as trainer:
        before = {name: array.copy() for name, array in trainer.model.parameters.items()}
        trainer.run()
        changed = {name for name, array in trainer.model.parameters.items() if not np.array_equal(array, before[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("high.", "upscale"))]
    assert {"pass1.pafs/kernel", "pass3.confs/kernel", "pass2.block1.mbconv1.bn/moving_mean"} <= changed


def test_drop_connect_follows_seed_and_step() -> None:
    """Twice the same step gives the same masks; without drop-connect another loss."""
    with Trainer(tiny(batch_size=8), None) as trainer, use_backend("auto"):
        batch = next(trainer.loader.epoch(0, sigma=8.0))
        first, again = trainer._gradients(batch), trainer._gradients(batch)
        assert first == again
        trainer.network.drop_connect = False
        assert trainer._gradients(batch).loss != first.loss


def test_range_test_finds_where_it_diverges() -> None:
    with Trainer(tiny(repeat=True, batch_size=8), None) as trainer:
        test = range_test(trainer, lowest=1e-5, highest=10.0, steps=30)
    assert test.diverged_at is not None
    assert 1e-5 < test.suggestion < test.diverged_at
    with Trainer(tiny(repeat=True, batch_size=8, epochs=9, rate=test.suggestion), None) as trainer:
        losses = []
        trainer.run(report=lambda result: losses.append(result.loss))
    assert losses[-1] < losses[0]


def test_imagenet_start(data_path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A backbone's file goes to the high branch, the rest stays random."""
    from epcore.models import EfficientNet

    path = data_path("efficientnet/EfficientNetB0_blocks123_k3.weights.h5")
    backbone = EfficientNet("B0", blocks=3)
    load_weights(backbone, path)
    model = EfficientPose("RT", seed=3)
    load_start(model, path)
    for name, array in backbone.parameters.items():
        np.testing.assert_array_equal(model.parameters[f"high.{name}"], array)
    fresh = EfficientPose("RT", seed=3)
    np.testing.assert_array_equal(model.parameters["pass1.pafs/kernel"], fresh.parameters["pass1.pafs/kernel"])
    with pytest.raises(ValueError, match="RT has no low branch"), Trainer(tiny(init_low=str(path)), None):
        pass
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5"), Trainer(tiny(init=str(tmp_path / "nowhere.h5")), None):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"resolution": 100}, "resolution is 100, expected a multiple of 16"),
        ({"optimizer": "lion"}, "optimizer is 'lion', expected one of sgd, adam, rmsprop"),
        ({"model": "V"}, "unknown variant 'V'"),
        ({"data": "mpii"}, "folder is missing"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"average": 1.0}, "average is 1.0"),
    ],
)
def test_wrong_configuration(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_configuration_files(tmp_path: Path) -> None:
    config = tiny(init='strange "name".h5', rate=1e-3)
    (tmp_path / "a.toml").write_text(config.to_toml())
    assert TrainConfig.from_toml(tmp_path / "a.toml") == config
    (tmp_path / "b.toml").write_text("learning_rate = 1")
    with pytest.raises(ValueError, match=r"b\.toml has the field 'learning_rate'"):
        TrainConfig.from_toml(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_text("rate = = 1")
    with pytest.raises(ValueError, match=r"c\.toml is not a TOML file"):
        TrainConfig.from_toml(tmp_path / "c.toml")
    with pytest.raises(TypeError, match=r"epochs is 2\.5"):
        tiny(epochs=2.5)
