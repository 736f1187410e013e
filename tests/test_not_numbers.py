"""Maps that are not numbers: weights, input and kernels planted in turn, and each blamed for itself, wherever maps are used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_helpers import tiny

import epcore
import epcore.evaluate.dataset
import epcore.inference.cpu_plan
import epcore.kernels.cpu.swish
import epcore.not_numbers
import epcore.pose.predict
from epcore.cli import main
from epcore.evaluate.dataset import map_predictor
from epcore.export.weights import export_weights
from epcore.models import EfficientPose
from epcore.not_numbers import NotNumbersError, require_numbers
from epcore.train.config import TrainConfig
from epcore.train.trainer import DivergedError, Trainer

PICTURE = np.random.default_rng(5).integers(0, 256, (50, 70, 3), dtype=np.uint8)
VARIANCE = "high.block1a.bn/moving_variance"
WAYS = ("plan", "cpu", "reference")
KERNELS = ("plan", "cpu")  # that can be wrong


@pytest.fixture
def model() -> EfficientPose:
    return EfficientPose("RT", seed=3)


def nan_from(module: Any, monkeypatch: pytest.MonkeyPatch, name: str = "forward") -> None:
    """The kernel's result with NaN among it."""
    right = getattr(module, name)

    def spoilt(*arrays: Any, **attributes: Any) -> Any:
        y, *rest = right(*arrays, **attributes)
        y.ravel()[-1] = np.nan
        return y, *rest

    monkeypatch.setattr(module, name, spoilt)


def nan_from_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans, whose kernels are compiled into one another, that put out NaN."""
    right = epcore.inference.cpu_plan.CpuPlan.__call__

    def spoilt(self: Any, x: np.ndarray, *others: Any, **options: Any) -> Any:
        outputs = right(self, x, *others, **options)
        maps = outputs.upscaled.copy()
        maps[0, 0, 0, 0] = np.nan
        return type(outputs)(outputs.pafs, outputs.confs, maps, outputs.passes)

    monkeypatch.setattr(epcore.inference.cpu_plan.CpuPlan, "__call__", spoilt)


def spoil_kernels(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nan_from(epcore.kernels.cpu.swish, monkeypatch)
    if way == "plan":
        nan_from_plans(monkeypatch)


def message(way: str, model: EfficientPose) -> str:
    """What `predict` says of a network that is run in this way."""
    with np.errstate(all="ignore"), epcore.use_backend("auto" if way == "plan" else way):
        runs = epcore.compile(model) if way == "plan" else model
        with pytest.raises(NotNumbersError) as caught:
            epcore.predict(PICTURE, runs)
    text = str(caught.value)
    assert text.startswith("the maps of EfficientPose RT hold NaN or infinite values: ")
    return text


@pytest.mark.parametrize("way", WAYS)
def test_weights_that_are_no_numbers(way: str, model: EfficientPose) -> None:
    model.parameters["pass2.confs/bias"][3] = np.nan
    model.parameters["pass3.confs/bias"][:2] = np.nan
    text = message(way, model)
    assert "its weights are damaged: pass2.confs/bias has 1 values that are NaN or infinite, pass3.confs/bias has 2" in text
    assert "kernels" not in text


@pytest.mark.parametrize("way", WAYS)
def test_variances_without_a_root(way: str, model: EfficientPose) -> None:
    model.parameters[VARIANCE][1] = -0.5
    text = message(way, model)
    assert f"weights are damaged: {VARIANCE} is negative (-0.5)" in text
    assert "kernels" not in text


@pytest.mark.parametrize("way", WAYS)
def test_weights_that_are_too_large(way: str, model: EfficientPose) -> None:
    model.parameters["high.stem_conv/kernel"] *= np.float32(1e38)
    text = message(way, model)
    assert "its weights are too large: float32 overflows in layer high.stem_conv (conv2d)" in text
    assert "(high.stem_conv/kernel)" in text
    assert "kernels" not in text


@pytest.mark.parametrize("way", WAYS)
def test_input_that_is_too_large(way: str, model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["epcore.pose.predict"]  # epcore.pose.predict is the function
    right = module.inputs  # type: ignore[attr-defined]

    def spoilt(*arguments: Any, **options: Any) -> Any:
        (x,), geometry = right(*arguments, **options)
        return [x / np.abs(x).max() * np.float32(2e38)], geometry

    monkeypatch.setattr(module, "inputs", spoilt)
    text = message(way, model)
    assert "its input is too large: float32 overflows in layer high.stem_conv (conv2d), also in the reference" in text
    assert "The largest |x| is 2e+38" in text
    assert "kernels" not in text
    assert "damaged" not in text


@pytest.mark.parametrize("way", KERNELS)
def test_kernels_that_are_wrong(way: str, model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_kernels(way, monkeypatch)
    text = message(way, model)
    assert (
        "the cpu kernels are wrong on this machine, first swish (layer high.stem_activation), which gives values that are"
        in text
    )
    assert "`epcore doctor`" in text
    assert "weights are" not in text


def test_a_plan_whose_operators_are_right(model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    nan_from_plans(monkeypatch)
    assert "so what joins them (fused kernels, threads) is wrong on this machine; `epcore doctor`" in message("plan", model)


def test_kernels_that_fail_or_are_far_off(model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    nan_from_plans(monkeypatch)
    right = epcore.kernels.cpu.swish.forward
    monkeypatch.setattr(epcore.kernels.cpu.swish, "forward", lambda x: (right(x)[0] * np.float32(1.1), (x,)))
    assert "first swish (layer high.stem_activation), which is " in message("plan", model)

    def broken(x: np.ndarray) -> Any:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(epcore.kernels.cpu.swish, "forward", broken)
    assert "which fails with RuntimeError: no such instruction" in message("plan", model)


def test_a_reference_that_changes_its_mind(model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    right = EfficientPose.__call__

    def spoilt(self: EfficientPose, x: np.ndarray) -> Any:
        outputs = right(self, x)
        outputs.upscaled[0, 0, 0, 0] = np.inf
        return outputs

    monkeypatch.setattr(EfficientPose, "__call__", spoilt)
    assert "this machine does not compute reliably" in message("reference", model)


def test_nothing_is_said_where_nothing_was_found_out(model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("no 7 GiB")

    nan_from_plans(monkeypatch)
    monkeypatch.setattr(epcore.not_numbers, "_reference", fail)
    text = message("plan", model)
    assert "reference failed (MemoryError: no 7 GiB), so whether input or kernels are at fault is not known" in text
    assert "damaged" not in text


def test_values_near_the_end_of_float32_are_no_fault_of_kernels(model: EfficientPose) -> None:
    x = np.full((1, 224, 224, 3), 1e33, np.float32)
    with pytest.raises(
        NotNumbersError, match=r"input is too large: float32 reaches \S+ of at most 3.4e\+38 in layer high.stem"
    ):
        require_numbers(np.full((1, 2, 2, 16), np.nan, np.float32), model, x)


def test_the_picture_of_a_batch_is_named(model: EfficientPose) -> None:
    maps = np.zeros((3, 2, 2, 16), np.float32)
    maps[1, 0, 0, 0] = np.inf
    x = np.zeros((3, 224, 224, 3), np.float32)
    x[1] = 1e38
    with pytest.raises(NotNumbersError, match=r"\(picture 2 of 3\): its input is too large"):
        require_numbers(maps, model, x)


def test_plans_keep_no_copies(model: EfficientPose) -> None:
    plan = epcore.compile(model)
    assert all(plan.source.parameters[name] is array for name, array in model.parameters.items())


# ---- evaluation and commands


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_evaluation(backend: str, model: EfficientPose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, input, kernels, one after another."""
    pictures = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)

    def says() -> str:
        with np.errstate(all="ignore"), epcore.use_backend(backend):
            predict = map_predictor(model, 1, 64, backend=backend)
            with pytest.raises(NotNumbersError) as caught:
                predict(pictures)
        return str(caught.value)

    kept = model.parameters["pass3.confs/bias"].copy()
    model.parameters["pass3.confs/bias"][0] = np.nan
    assert "its weights are damaged: pass3.confs/bias" in says()
    model.parameters["pass3.confs/bias"] = kept
    with monkeypatch.context() as patch:
        right = epcore.evaluate.dataset.normalize
        patch.setattr(epcore.evaluate.dataset, "normalize", lambda *each: right(*each) * np.float32(1e38))
        assert "its input is too large" in says()
    if backend == "auto":
        spoil_kernels("plan", monkeypatch)
        assert "the cpu kernels are wrong on this machine, first swish" in says()


@pytest.fixture
def damaged(model: EfficientPose, tmp_path: Path) -> str:
    """A weight file that can be read and has no NaN, but a variance without a root."""
    model.parameters[VARIANCE][0] = -1
    export_weights(model, tmp_path / "w.h5")
    return str(tmp_path / "w.h5")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with np.errstate(all="ignore"):
        assert main(list(arguments)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epcore: error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_run_writes_no_maps_that_are_not_numbers(
    backend: str, damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).standard_normal((1, 224, 224, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "large.npy", x / np.abs(x).max() * np.float32(3e38))
    output = tmp_path / "y.npz"
    run = ("run", "--backend", backend, "--output", str(output), "--input")
    assert f"damaged: {VARIANCE} is negative" in refused(capsys, *run, str(tmp_path / "x.npy"), "--weights", damaged)
    assert "its input is too large" in refused(capsys, *run, str(tmp_path / "large.npy"))
    if backend == "auto":
        spoil_kernels("plan", monkeypatch)
        assert "the cpu kernels are wrong on this machine, first swish" in refused(capsys, *run, str(tmp_path / "x.npy"))
    assert not output.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.npy", "w.h5", "x.npy"]


def test_run_looks_at_every_map(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: EfficientPose) -> None:
    """Fields that are not numbers although the confidence maps, all that `predict` looks at, are."""
    node = model.graph.nodes[model.graph.outputs["pafs"]]
    name = next(each for each in node.parameters if each and each.endswith("kernel"))
    model.parameters[name] *= np.float32(1e38)
    model.parameters[name][...] = np.sign(model.parameters[name]) * np.float32(3e38)
    export_weights(model, tmp_path / "w.h5")
    np.save(tmp_path / "x.npy", np.random.default_rng(1).standard_normal((1, 224, 224, 3)).astype(np.float32) * 30)
    text = refused(
        capsys,
        "run",
        "--input",
        str(tmp_path / "x.npy"),
        "--output",
        str(tmp_path / "y.npz"),
        "--weights",
        str(tmp_path / "w.h5"),
    )
    assert f"in layer {node.name} (conv2d)" in text


def test_predict_and_evaluate_commands(damaged: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    said = refused(capsys, "predict", str(tmp_path / "a.png"), "--weights", damaged, "--json", str(tmp_path / "a.json"))
    assert "a.png: the maps of EfficientPose RT hold NaN" in said
    assert VARIANCE in said
    assert not (tmp_path / "a.json").exists()
    said = refused(capsys, "evaluate", "--pictures", "1", "--weights", damaged, "--json", str(tmp_path / "e.json"))
    assert VARIANCE in said
    assert not (tmp_path / "e.json").exists()


# ---- training


def diverged(config: TrainConfig, spoil: Callable[[Trainer], None]) -> str:
    with Trainer(config, None) as trainer:
        spoil(trainer)
        before = {name: array.copy() for name, array in trainer.network.parameters.items()}
        with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
            trainer.step(next(trainer.loader.epoch(0, sigma=8.0)), 0.1)
        for name, array in trainer.network.parameters.items():
            if name in trainer.vector.names:
                np.testing.assert_array_equal(array, before[name])
    return str(caught.value)


def test_training_blames_kernels_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        nan_from(epcore.kernels.cpu.swish, patch)
        text = diverged(tiny(), lambda trainer: None)
    assert "training stopped at step 1 (epoch 0, step 0): the output of layer high.stem_activation is NaN or infinite" in text
    assert "the cpu kernels of swish are wrong on this machine" in text
    assert "--rate" not in text
    right = epcore.kernels.cpu.swish.backward
    monkeypatch.setattr(epcore.kernels.cpu.swish, "backward", lambda dy, saved: (right(dy, saved)[0] * np.float32(np.nan),))
    text = diverged(tiny(), lambda trainer: None)
    assert "is NaN or infinite, but no gradient of the reference for the same batch: the cpu kernels are wrong" in text
    assert "--rate" not in text


def test_training_blames_the_loss_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    import epcore.kernels.cpu.mse

    right = epcore.kernels.cpu.mse.forward
    monkeypatch.setattr(
        epcore.kernels.cpu.mse,
        "forward",
        lambda *arrays, **how: (np.array(np.nan, np.float32), right(*arrays, **how)[1]),
    )
    text = diverged(tiny(), lambda trainer: None)
    assert "the loss is NaN or infinite, but not the reference's of the same maps: the cpu kernels are wrong" in text


def test_training_blames_weights_and_rates_for_themselves() -> None:
    def damage(trainer: Trainer) -> None:
        trainer.network.parameters["pass2.block1.mbconv1.expand_bn/gamma"][3] = np.nan

    text = diverged(tiny(), damage)
    assert "layer pass2.block1.mbconv1.expand_bn is NaN or infinite: pass2.block1.mbconv1.expand_bn/gamma has 1 values" in text
    assert "kernels" not in text

    def explode(trainer: Trainer) -> None:
        trainer.network.parameters["pass3.confs/bias"][:] = 3e38

    text = diverged(tiny(), explode)
    assert "training diverged" in text
    assert "lower --rate" in text
    assert "kernels" not in text
