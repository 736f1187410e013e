"""The OpenPose baseline: its size, its wiring, and its maps against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import epcore
from epcore.audit.count import count_forward, count_parameters
from epcore.audit.summary import openpose_readings
from epcore.models.openpose import build_openpose


@pytest.fixture(scope="module")
def model() -> epcore.OpenPose:
    return epcore.OpenPose()


def test_the_papers_figures() -> None:
    graph = build_openpose()
    assert (count_parameters(graph), count_forward(graph)) == (25_939_280, 160_355_050_560)
    assert count_parameters(graph.pruned("confs6")) == count_parameters(graph)


def test_pafs_to_last_pass() -> None:
    """28 more channels into the first 3x3 convolution of the last pass: 28 * 9 * 128 more weights."""
    graph = build_openpose(pafs_to_last_pass=True)
    alphas = sum(p.shape[0] for name, p in graph.parameters.items() if name.endswith("/alpha"))
    assert count_parameters(graph) == 25_939_280 + 28 * 9 * 128
    assert count_parameters(graph) - alphas == 25_958_416
    assert graph.nodes["pass6.input"].inputs == ("relu4_4", "pass5.confs", "pass4.pafs")


def test_other_readings() -> None:
    """Sizes by hand: 28 * 9 * 128 weights for the PAFs; 2 * (15 * 96 + 256) + 4 * (15 * 128 + 512) slopes; 256 + 128 more."""
    weights, slopes = 28 * 9 * 128, 2 * (15 * 96 + 256) + 4 * (15 * 128 + 512)
    readings = openpose_readings()
    base = 25_939_280
    assert [parameters - base for _, parameters, _ in readings] == [0, weights, -slopes, weights - slopes, 384, 0, 0]
    pixels, pooled = 46 * 46, sum(c * n * n for c, n in ((64, 368), (128, 184), (256, 92)))
    changes = [0, 2 * weights * pixels, 0, 2 * weights * pixels, 3 * 384 * pixels, -3 * slopes * pixels, -pooled]
    assert [flops - 160_355_050_560 for _, _, flops in readings] == changes


def test_maps_are_passed_on() -> None:
    graph = build_openpose()
    before = ["pass1.pafs", "pass2.pafs", "pass3.pafs", "pass4.pafs", "pass5.confs"]
    assert [graph.nodes[f"pass{n}.input"].inputs for n in range(2, 7)] == [("relu4_4", name) for name in before]
    assert graph.outputs["pafs"] == "pass4.pafs"


def test_shapes(model: epcore.OpenPose) -> None:
    outputs = model(np.zeros((2, 32, 40, 3), np.float32))
    assert outputs.pafs is not None and outputs.pafs.shape == (2, 4, 5, 28)
    assert [maps.shape for maps in outputs.confs] == [(2, 4, 5, 16)] * 2
    assert outputs.upscaled is None and outputs.final is outputs.confs[1]


def test_torch(model: epcore.OpenPose, rng: np.random.Generator) -> None:
    """The last maps of both kinds, beside the same network written in PyTorch, layer by layer from the paper's Figure 1."""
    torch = pytest.importorskip("torch")
    for name, array in model.parameters.items():
        if name.endswith("/bias"):
            model.parameters[name] = rng.normal(0, 0.1, array.shape).astype(np.float32)
        if name.endswith("/alpha"):
            model.parameters[name] = rng.uniform(0.1, 0.5, array.shape).astype(np.float32)
    double = {name: torch.from_numpy(array.astype(np.float64)) for name, array in model.parameters.items()}
    functional = torch.nn.functional

    def convolve(x: Any, name: str) -> Any:
        w = double[f"{name}/kernel"].permute(3, 2, 0, 1)
        return functional.conv2d(x, w, double[f"{name}/bias"], padding=w.shape[2] // 2)

    def dense(x: Any, name: str) -> Any:
        outs = []
        for layer in "123":
            x = functional.prelu(convolve(x, f"{name}.conv{layer}"), double[f"{name}.prelu{layer}/alpha"])
            outs.append(x)
        return torch.cat(outs, 1)

    def one_pass(x: Any, number: int) -> Any:
        for block in range(1, 6):
            x = dense(x, f"pass{number}.block{block}")
        x = functional.prelu(convolve(x, f"pass{number}.conv"), double[f"pass{number}.prelu/alpha"])
        return convolve(x, f"pass{number}.{'pafs' if number < 5 else 'confs'}")

    picture = rng.normal(size=(1, 32, 32, 3))
    x = torch.from_numpy(picture.transpose(0, 3, 1, 2).copy())
    for block, layers in ((1, 2), (2, 2), (3, 4), (4, 4)):
        x = functional.max_pool2d(x, 2) if block > 1 else x
        for layer in range(1, layers + 1):
            x = functional.relu(convolve(x, f"conv{block}_{layer}"))
    maps = {1: one_pass(x, 1)}
    for number in range(2, 7):
        maps[number] = one_pass(torch.cat([x, maps[number - 1]], 1), number)

    outputs = model(picture.astype(np.float32))
    for ours, theirs in ((outputs.pafs, maps[4]), (outputs.final, maps[6])):
        assert ours is not None
        reference = theirs.permute(0, 2, 3, 1).numpy()
        # About 110 convolutions in a row, each rounding to within 2 eps sqrt(K) of its largest value, K at most 9 * 512.
        bound = 110 * 2 * np.finfo(np.float32).eps * np.sqrt(9 * 512) * np.abs(reference).max()
        np.testing.assert_allclose(ours, reference, rtol=0, atol=bound)
