"""Whole networks on the CUDA kernels: the model itself, a training step through the tape, the fused layers a graph captures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
import pytest
from cuda_on_host.devices import Device, device

import epcore
from epcore import backend
from epcore.inference.cuda_graph import CudaGraphPlan
from epcore.inference.fused_network import FusedNetwork
from epcore.kernels.cuda import bilinear
from epcore.network import Network
from epcore.tape import Tape
from epcore.train.optimizers import SGD

PLACES = ("shuffled", pytest.param("gpu", marks=pytest.mark.gpu))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device; without a GPU, NumPy arrays are sent to the CUDA kernels as CuPy arrays would be."""
    with device(request.param) as found:
        if found.name != "gpu":

            def kernel(op: str, *arrays: Any) -> Any:
                module = backend.kernel_module(op, "cuda")
                return module.forward, module.backward

            monkeypatch.setattr("epcore.network.kernel", kernel)
            monkeypatch.setattr("epcore.tape.kernel", kernel)
        yield found


def randomise(model: Network, seed: int = 0) -> Network:
    """Statistics and biases away from their start, where mistakes in them would not show."""
    rng = np.random.default_rng(seed)
    for name, array in model.parameters.items():
        kind = name.rpartition("/")[2]
        if kind in ("gamma", "moving_variance"):
            model.parameters[name] = rng.uniform(0.5, 1.5, array.shape).astype(array.dtype)
        elif kind in ("beta", "moving_mean", "bias") and not name.startswith("upscale"):
            model.parameters[name] = rng.normal(0, 0.1, array.shape).astype(array.dtype)
    return model


def on(place: Device, model: Network) -> Network:
    model.parameters = {name: place.put(array) for name, array in model.parameters.items()}
    return model


def networks() -> list[Callable[[], Network]]:
    return [
        lambda: epcore.EfficientPose("RT"),
        lambda: epcore.EfficientPose("I"),
        lambda: epcore.EfficientPose("I", skeleton=False, cross_resolution=False),
    ]


@pytest.mark.parametrize("build", networks(), ids=["RT", "I", "I ablated"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inference(build: Callable[[], Network], dtype: str, place: Device) -> None:
    """The bound is a single kernel's, for the longest sum in the network: batch norms keep errors from growing with depth."""
    model = randomise(build()).astype(dtype)
    x = np.random.default_rng(1).normal(size=(2, 32, 48, 3)).astype(dtype)
    with epcore.use_backend("reference"):
        expected = reference_run(model, x)
    got = on(place, model).run(place.put(x))
    fused = FusedNetwork(model, place.put)(place.put(x))
    assert got.keys() == fused.keys() == expected.keys()
    length = max(prod(spec.shape[:3]) for name, spec in model.graph.parameters.items() if name.endswith("_conv/kernel"))
    for label, want in expected.items():
        allowed = 2 * length**0.5 * float(np.finfo(dtype).eps) * np.abs(want).max()
        np.testing.assert_allclose(place.get(got[label]), want, rtol=0, atol=allowed, err_msg=f"{label} of the model")
        np.testing.assert_allclose(place.get(fused[label]), want, rtol=0, atol=allowed, err_msg=f"{label}, fused")


def reference_run(model: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs in double by the reference operators."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("epcore.network.kernel", backend.kernel)
        double = Network(model.graph, model.name)
        double.parameters = {name: array.astype(np.float64) for name, array in model.parameters.items()}
        return double.run(x.astype(np.float64))


def training_gradients(model: Network, x: Any, targets: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Loss and gradients of one training step: the sum of the squared errors of all maps."""
    model.train().seed_drop_connect(3)
    tape = Tape()
    outputs, watched = model.record(x, tape)
    losses = [tape.apply("mse", outputs[label], target) for label, target in targets.items()]
    total = losses[0]
    for loss in losses[1:]:
        total = tape.apply("add", total, loss)
    tape.backward(total)
    return total.data, {name: tape.gradient(tensor) for name, tensor in watched.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_step(dtype: str, place: Device) -> None:
    """Loss, every gradient and the running statistics of RT in training mode."""
    model = randomise(epcore.EfficientPose("RT")).astype(dtype)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 32, 32, 3)).astype(dtype)
    targets = {
        label: rng.normal(size=shape).astype(dtype)
        for label, shape in {"pafs": (2, 4, 4, 28), "confs2": (2, 4, 4, 16), "upscaled": (2, 32, 32, 16)}.items()
    }
    double = Network(model.graph, "double").freeze("upscale")
    double.parameters = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    with pytest.MonkeyPatch.context() as patch, epcore.use_backend("reference"):
        patch.setattr("epcore.network.kernel", backend.kernel)
        patch.setattr("epcore.tape.kernel", backend.kernel)
        wide = {label: target.astype(np.float64) for label, target in targets.items()}
        loss, expected = training_gradients(double, x.astype(np.float64), wide)
    on(place, model)
    got_loss, got = training_gradients(model, place.put(x), {label: place.put(target) for label, target in targets.items()})
    # The longest sums are over the 512 pixels of the stem's output; the way there and back is some hundred layers.
    allowed = 8 * 512**0.5 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(float(place.get(got_loss)), loss, rtol=allowed)
    assert got.keys() == expected.keys()
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, want in expected.items():
        np.testing.assert_allclose(place.get(got[name]), want, rtol=0, atol=allowed * largest, err_msg=name)
    for name, array in double.parameters.items():
        np.testing.assert_allclose(place.get(model.parameters[name]), array, rtol=0, atol=allowed * np.abs(array).max())


def test_sgd_of_the_trainer(place: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer that training uses is one launch on CuPy arrays, and does what it does on NumPy arrays."""
    rng = np.random.default_rng(0)
    values, gradients = rng.standard_normal(10_000).astype(np.float32), rng.standard_normal((3, 10_000)).astype(np.float32)
    expected = SGD(values.copy())
    with monkeypatch.context() as patch:
        patch.setattr("epcore.train.optimizers.is_cupy", lambda array: True)
        found = SGD(place.put(values))
    monkeypatch.setattr("epcore.train.optimizers.array_module", lambda *arrays: pytest.fail("not in one launch"))
    for gradient in gradients:
        found.step(place.put(gradient), 0.1)
    monkeypatch.undo()
    for gradient in gradients:
        expected.step(gradient, 0.1)
    np.testing.assert_allclose(
        place.get(found.values), expected.values, rtol=0, atol=8 * 2.0**-23 * np.abs(expected.values).max()
    )


def test_bilinear_upscaling_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The release's upscaling kernels take the short way, others do not."""
    calls: list[int] = []
    forward = bilinear.forward

    def count(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape[1])
        return forward(x)

    monkeypatch.setattr(bilinear, "forward", count)
    with device("forward"):
        model = epcore.EfficientPose("RT")
        FusedNetwork(model, np.asarray)(np.zeros((1, 32, 32, 3), np.float32))
        assert calls == [4, 8, 16]
        model.parameters["upscale2/kernel"] = model.parameters["upscale2/kernel"] * np.float32(1.001)
        FusedNetwork(model, np.asarray)(np.zeros((1, 32, 32, 3), np.float32))
        assert calls[3:] == [4, 16]


@pytest.fixture(params=("stand-in", pytest.param("gpu", marks=pytest.mark.gpu)))
def gpu(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Where graphs can be captured."""
    with device(request.param) as found:
        yield found


class TestGraph:
    """The captured graph gives the bits of the launches it captured, again and again."""

    def test_equals_the_fused_network(self, gpu: Device) -> None:
        model = randomise(epcore.EfficientPose("RT")).to("cuda")
        plan = CudaGraphPlan(model, batch=2, resolution=64)
        rng = np.random.default_rng(0)
        for _ in range(3):
            x = gpu.put(rng.normal(size=(2, 64, 64, 3)).astype(np.float32))
            expected = FusedNetwork(model, gpu.put)(x)
            outputs = plan(x)
            for label, want in expected.items():
                np.testing.assert_array_equal(gpu.get(getattr(outputs, label)), gpu.get(want))

    def test_outputs_belong_to_the_caller(self, gpu: Device) -> None:
        plan = CudaGraphPlan(randomise(epcore.EfficientPose("RT")).to("cuda"), resolution=64)
        first, second = (gpu.put(np.full((1, 64, 64, 3), value, np.float32)) for value in (0.5, -0.5))
        outputs = plan(first)
        kept = {label: gpu.get(maps).copy() for label, maps in outputs.by_label().items()}
        other = plan(second)
        for label, maps in outputs.by_label().items():
            np.testing.assert_array_equal(gpu.get(maps), kept[label])
            assert not np.array_equal(gpu.get(other.by_label()[label]), kept[label])
        assert plan(first, out=other) is other
        for label, maps in other.by_label().items():
            np.testing.assert_array_equal(gpu.get(maps), kept[label])
        with pytest.raises(ValueError, match="out has pafs, expected pafs, confs2"):
            plan(first, out=epcore.PoseOutputs.of({"pafs": outputs.pafs}))

    def test_refuses_another_shape(self, gpu: Device) -> None:
        plan = CudaGraphPlan(epcore.EfficientPose("RT").to("cuda"), resolution=64)
        with pytest.raises(ValueError, match="this plan takes"):
            plan(gpu.put(np.zeros((1, 32, 32, 3), np.float32)))
