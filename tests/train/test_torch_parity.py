"""One training step of RT against PyTorch's autograd: the graph run by torch.nn.functional, same weights, same batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerances import gradients_and_bounds

import epcore
from epcore.graph import INPUT
from epcore.network import Network
from epcore.shapes import same_padding

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional

OUTPUTS = ("pafs", "confs2", "confs3")


def torch_parameter(name: str, op: str, array: np.ndarray) -> Any:
    """In PyTorch's layout: convolutions (Cout,Cin,kh,kw), depthwise (C,1,kh,kw), transposed (Cin,Cout,kh,kw)."""
    if name.endswith("kernel"):
        array = array.transpose(2, 0, 1)[:, None] if op == "depthwise_conv2d" else array.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()


def numpy_gradient(name: str, op: str, tensor: Any) -> np.ndarray:
    """Back to epcore's layout."""
    gradient = tensor.grad.numpy()
    if name.endswith("kernel"):
        return gradient[:, 0].transpose(1, 2, 0) if op == "depthwise_conv2d" else gradient.transpose(2, 3, 1, 0)
    return gradient


def activation(kind: str, x: Any) -> Any:
    return F.silu(x) * (1.25 if kind == "eswish" else 1.0)


def run_in_torch(model: Network, x: np.ndarray, parameters: dict[str, Any]) -> dict[str, Any]:
    """The graph in training mode, NCHW, without drop-connect."""
    values = {INPUT: torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))}
    for node in model.graph.nodes.values():
        a = values[node.inputs[0]]
        p = [None if name is None else parameters[name] for name in node.parameters]
        match node.op:
            case "conv2d" | "depthwise_conv2d":
                stride = node.attributes["stride"]
                (top, bottom), (left, right) = (same_padding(n, p[0].shape[2], stride) for n in a.shape[2:])
                groups = a.shape[1] if node.op == "depthwise_conv2d" else 1
                bias = p[1] if len(p) > 1 else None
                y = F.conv2d(F.pad(a, (left, right, top, bottom)), p[0], bias, stride, groups=groups)
            case "conv_transpose2d":
                y = F.conv_transpose2d(a, p[0], p[1], 2, 1)
            case "batch_norm":
                y = F.batch_norm(a, None, None, p[0], p[1], training=True, eps=node.attributes["epsilon"])
            case "swish" | "eswish":
                y = activation(node.op, a)
            case "squeeze_excite":
                hidden = activation(node.attributes["activation"], F.conv2d(a.mean((2, 3), keepdim=True), p[0], p[1]))
                y = a * torch.sigmoid(F.conv2d(hidden, p[2], p[3]))
            case "add":
                y = a + values[node.inputs[1]]
            case "concat":
                y = torch.cat([values[name] for name in node.inputs], 1)
            case "avg_pool":
                y = F.avg_pool2d(a, 2)
            case "drop_connect":
                y = a
            case _:
                raise AssertionError(node.op)
        values[node.name] = y
    return {label: values[name].permute(0, 2, 3, 1) for label, name in model.graph.outputs.items()}


def without_drop_connect(model: Network) -> Network:
    """Masks are random: every one keeps everything, and the rate is 0."""
    for node in model.graph.nodes.values():
        if node.op == "drop_connect":
            node.attributes["rate"] = 0.0  # type: ignore[index]
    return model


def example(dtype: type) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A batch and its targets."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 128, 128, 3)).astype(dtype)
    return x, {label: rng.normal(size=(2, 16, 16, 28 if label == "pafs" else 16)).astype(dtype) for label in OUTPUTS}


def training_step(model: Network, tape: epcore.Tape, x: np.ndarray, targets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The loss, and the gradient of every parameter that is trained, by name."""
    outputs, watched = model.record(x, tape)
    total = None
    for label, target in targets.items():
        term = tape.apply("mse", outputs[label], target)
        total = term if total is None else tape.apply("add", total, term)
    assert total is not None
    tape.backward(total)
    gradients = {name: tape.gradient(tensor) for name, tensor in watched.items()}
    return {"loss": total.data} | {name: gradient for name, gradient in gradients.items() if gradient is not None}


@pytest.fixture(scope="module")
def bounds() -> dict[str, float]:
    """How many epsilons PyTorch's loss and gradients may be from ours."""
    model = without_drop_connect(epcore.EfficientPose("RT").train())
    return gradients_and_bounds(model, lambda double, tape: training_step(double, tape, *example(np.float64)))[1]


@pytest.mark.parametrize(("dtype", "backend"), [(np.float64, "reference"), (np.float32, "reference"), (np.float32, "cpu")])
def test_training_step_of_rt(dtype: type, backend: str, bounds: dict[str, float]) -> None:
    """A shift in front of a batch norm has a gradient that is zero but for rounding, on both sides, compared as the others."""
    model = without_drop_connect(epcore.EfficientPose("RT").astype(dtype).train())
    x, targets = example(dtype)
    ops = {name: node.op for node in model.graph.nodes.values() for name in node.parameters if name is not None}
    twins = {name: torch_parameter(name, ops[name], array.copy()) for name, array in model.parameters.items()}

    twin_outputs = run_in_torch(model, x, twins)
    twin_loss = sum(F.mse_loss(twin_outputs[label], torch.from_numpy(target)) for label, target in targets.items())
    twin_loss.backward()

    with epcore.use_backend(backend):
        got = training_step(model, epcore.Tape(), x, targets)
    assert got.keys() == bounds.keys()
    for name, ours in got.items():
        expected = twin_loss.item() if name == "loss" else numpy_gradient(name, ops[name], twins[name])
        assert np.abs(ours - expected).max() <= bounds[name] * np.finfo(dtype).eps, name


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_bitwise_the_same_every_time(threads: int) -> None:
    """Two runs, and runs with one and two threads."""

    def gradients(count: int) -> dict[str, np.ndarray]:
        epcore.set_threads(count)
        rng = np.random.default_rng(0)
        model = epcore.EfficientPose("RT").train()
        tape = epcore.Tape()
        outputs, watched = model.record(rng.normal(size=(2, 64, 64, 3)).astype(np.float32), tape)
        tape.backward(tape.apply("mse", outputs["confs3"], np.zeros(outputs["confs3"].shape, np.float32)))
        return {name: gradient for name, tensor in watched.items() if (gradient := tape.gradient(tensor)) is not None}

    try:
        first, second = gradients(1), gradients(threads)
    finally:
        epcore.set_threads(None)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
