"""One place chooses what computes: the same engine for every caller, and what engines have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from train_helpers import tiny

import epcore
from epcore.cli import main
from epcore.data.synthetic import SyntheticFigures
from epcore.evaluate.dataset import evaluate_dataset, map_predictor
from epcore.graph import INPUT, GraphBuilder
from epcore.inference.cpu_plan import CpuPlan
from epcore.inference.engine import Engine, Operators, UserModel, as_engine, engine
from epcore.inference.step import NoPlanError
from epcore.network import Network
from epcore.train.trainer import Trainer

EXPECTED = {"auto": "plan", "cpu": "plan", "cuda": "graph", "reference": "operators"}


class Fake:
    """Stands for an engine of one kind and notes that it was made."""

    name, preprocessing, source = "fake", "imagenet", None

    def __init__(
        self, kind: str, made: list[str], model: Network, batch: int = 1, *, resolution: Any = None, backend: str = ""
    ) -> None:
        made.append(kind)
        self.kind, self.batch, self.resolution = kind, batch, resolution or model.resolution

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        assert x.shape == (self.batch if self.kind != "operators" else len(x), self.resolution, self.resolution, 3)
        maps = np.zeros((*x.shape[:3], 16), np.float32)
        return SimpleNamespace(final=maps, pafs=maps, confs2=None, confs3=maps, upscaled=maps)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kinds of the engines that are made from now on, none of which computes anything. Networks stay in host memory."""
    kinds: list[str] = []
    monkeypatch.setattr("epcore.inference.compile.compile", partial(Fake, "plan", kinds))
    monkeypatch.setattr("epcore.inference.cuda_graph.CudaGraphPlan", partial(Fake, "graph", kinds))
    monkeypatch.setattr("epcore.inference.engine.Operators", partial(Fake, "operators", kinds))
    monkeypatch.setattr(Network, "to", lambda self, device: self)
    return kinds


def by_predict(backend: str, folder: Path) -> None:
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    assert main(["predict", str(folder / "a.png"), "--backend", backend]) == 0


def by_run(backend: str, folder: Path) -> None:
    np.save(folder / "x.npy", np.zeros((2, 224, 224, 3), np.float32))
    files = ["--input", str(folder / "x.npy"), "--output", str(folder / "y.npz")]
    assert main(["run", *files, "--backend", backend]) == 0


def by_evaluate(backend: str, folder: Path) -> None:
    assert main(["evaluate", "--pictures", "1", "--size", "64", "--flip", "--backend", backend]) == 0


def by_the_library(backend: str, folder: Path) -> None:
    figures = SyntheticFigures(1, seed=5, split="test", size=64)
    evaluate_dataset(map_predictor(epcore.EfficientPose("RT"), 1, 32, backend=backend), figures, 32)


def by_validation(backend: str, folder: Path) -> None:
    with Trainer(tiny(backend=backend), None) as trainer:
        trainer.evaluate()


@pytest.mark.parametrize("backend", EXPECTED)
@pytest.mark.parametrize("caller", [by_predict, by_run, by_evaluate, by_the_library, by_validation])
def test_every_caller_gets_the_same_engine(
    caller: Callable[[str, Path], None], backend: str, made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caller(backend, tmp_path)
    assert made == [EXPECTED[backend]]


def test_the_demo_gets_it_too(made: list[str]) -> None:
    from epcore.commands.demo import _measure

    _measure(epcore.EfficientPose("RT"), 1)
    assert made == ["plan"]


def test_parameters_decide_where_nobody_does(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto`: float64 is nothing for plans; parameters on a GPU, made up here, are for a graph."""
    model = epcore.EfficientPose("RT")
    engine(model)
    engine(epcore.EfficientPose("RT").astype(np.float64))
    monkeypatch.setattr("epcore.not_numbers.is_cupy", lambda array: True)
    engine(model)
    engine(epcore.EfficientPose("RT").astype(np.float64))
    with epcore.use_backend("reference"):
        engine(model)
        engine(model, backend="auto")
    assert made == ["plan", "operators", "graph", "operators", "operators", "graph"]


def test_a_backend_that_was_named_is_used_or_raises() -> None:
    double = epcore.EfficientPose("RT").astype(np.float64)
    with pytest.raises(TypeError, match="plans take float32"):
        engine(double, backend="cpu")
    with pytest.raises(ValueError, match="unknown backend 'tpu'"):
        engine(double, backend="tpu")
    for backend in ("auto", "reference"):
        with pytest.raises(ValueError, match="training mode"):
            engine(epcore.EfficientPose("RT").train(), backend=backend)


def test_networks_that_plans_do_not_know_run_by_their_operators(rng: np.random.Generator) -> None:
    builder = GraphBuilder((16, 16, 3))
    x = builder.conv2d("conv", INPUT, 16)
    model = Network(builder.graph({"y": builder.node("square", "multiply", [x, x], 16)}), "a product")
    picture = rng.normal(size=(1, 16, 16, 3)).astype(np.float32)
    chosen = engine(model)
    assert isinstance(chosen, Operators)
    np.testing.assert_array_equal(chosen(picture)["y"], model(picture)["y"])
    with pytest.raises(NoPlanError, match=r"square \(multiply\) stands where plans cannot take it"):
        engine(model, backend="cpu")


def test_engines_keep_the_protocol() -> None:
    model = epcore.EfficientPoseLite("RT")
    for backend, kind in (("auto", CpuPlan), ("reference", Operators)):
        for resolution in (64, (32, 64)):
            chosen = engine(model, 2, resolution=resolution, backend=backend)
            assert isinstance(chosen, Engine)
            assert isinstance(chosen, kind)
            assert (chosen.name, chosen.resolution, chosen.preprocessing) == (model.name, resolution, "signed")
            assert chosen.source is not None
            assert chosen.source.backend == ("cpu" if backend == "auto" else "reference")
            assert as_engine(chosen) is chosen
    assert engine(model, backend="reference").resolution == model.resolution


def test_operators_compute_on_the_backend_they_were_made_for(rng: np.random.Generator) -> None:
    """Whatever is current at the call; with None on that. In the network's dtype, and with the weights it has then."""
    model = epcore.EfficientPose("RT", seed=3)
    x = rng.normal(size=(1, 32, 32, 3)).astype(np.float32)
    results = {}
    for backend in ("reference", "cpu"):
        with epcore.use_backend(backend):
            results[backend] = model(x).upscaled
    assert not np.array_equal(results["reference"], results["cpu"])
    fixed, free = engine(model, backend="reference"), Operators(model)
    with epcore.use_backend("cpu"):
        np.testing.assert_array_equal(fixed(x).upscaled, results["reference"])
        np.testing.assert_array_equal(free(x).upscaled, results["cpu"])
    model.parameters["pass3.confs/bias"] = model.parameters["pass3.confs/bias"] + np.float32(1)
    assert not np.array_equal(fixed(x).upscaled, results["reference"])
    assert engine(model.astype(np.float64))(x).upscaled.dtype == np.float64


def test_models_of_the_users_own() -> None:
    plain = SimpleNamespace(resolution=32)
    assert isinstance(as_engine(plain), UserModel)  # type: ignore[arg-type]
    assert as_engine(plain).preprocessing == "imagenet"  # type: ignore[arg-type]
    assert as_engine(plain).name == "SimpleNamespace"  # type: ignore[arg-type]
    assert as_engine(plain).source is None  # type: ignore[arg-type]
    signed = SimpleNamespace(resolution=(32, 64), preprocessing="signed")
    assert as_engine(signed).preprocessing == "signed"  # type: ignore[arg-type]
    assert as_engine(signed).resolution == (32, 64)  # type: ignore[arg-type]
