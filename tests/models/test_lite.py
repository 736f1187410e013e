"""EfficientPose Lite: the published files' sizes, what it is made of, compiled plans."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import outputs_and_bounds, settle

import epcore
from epcore.audit.count import count_forward, count_parameters


@pytest.mark.parametrize(
    ("variant", "parameters", "flops"),
    [("RT", 404_608, 857_652_096), ("I", 591_632, 1_537_556_480), ("II", 1_464_960, 7_250_363_968)],
)
def test_counts(variant: str, parameters: int, flops: int) -> None:
    """The published RT Lite and I Lite files hold 404,608 and 591,632 numbers."""
    graph = epcore.EfficientPoseLite(variant).graph
    assert (count_parameters(graph), count_forward(graph)) == (parameters, flops)


def test_heads(rng: np.random.Generator) -> None:
    """The published networks have the last pass' maps alone; to train on, the other heads can be had."""
    x = rng.normal(size=(1, 32, 32, 3)).astype(np.float32)
    plain, full = epcore.EfficientPoseLite("RT"), epcore.EfficientPoseLite("RT", auxiliary_heads=True)
    full.parameters |= plain.parameters
    few, all_maps = plain(x), full(x)
    assert few.pafs is None and few.confs2 is None
    assert np.array_equal(few.confs3, all_maps.confs3) and np.array_equal(few.upscaled, all_maps.upscaled)
    assert all_maps.pafs.shape == (1, 4, 4, 28) and all_maps.confs2.shape == all_maps.confs3.shape == (1, 4, 4, 16)
    assert not np.array_equal(all_maps.confs2, all_maps.confs3)


@pytest.mark.parametrize(
    ("variant", "channels", "repeats"),
    [("RT", (32, 16, 24, 40), "122"), ("I", (32, 16, 24, 48), "133"), ("II", (32, 24, 32, 56), "144")],
)
def test_backbone(variant: str, channels: tuple[int, ...], repeats: str) -> None:
    """The stem and the repeats of block 1 do not scale; width and the other repeats do."""
    graph = epcore.EfficientPoseLite(variant).graph
    shapes = graph.shapes()
    names = ["high.stem_conv", *(f"high.block{i}a.project_conv" for i in (1, 2, 3))]
    assert tuple(shapes[name][3] for name in names) == channels
    layers = [name for name in graph.nodes if name.endswith(".dwconv")]
    assert "".join(str(sum(name.startswith(f"high.block{i}") for name in layers)) for i in (1, 2, 3)) == repeats


def test_operators() -> None:
    graph = epcore.EfficientPoseLite("II").graph
    ops = {node.op for node in graph.nodes.values()}
    assert ops == {"conv2d", "depthwise_conv2d", "conv_transpose2d", "batch_norm", "relu", "add", "drop_connect", "concat"}
    assert {node.attributes["maximum"] for node in graph.nodes.values() if node.op == "relu"} == {6.0}


@pytest.mark.parametrize("variant", ["RT", "I", "II"])
def test_compiled(variant: str, rng: np.random.Generator) -> None:
    """A plan gives what the network gives, with batch norms and ReLU6 that do something."""
    model = settle(epcore.EfficientPoseLite(variant, auxiliary_heads=True), gamma=(0.5, 4.0))
    x = rng.normal(size=(2, 64, 64, 3)).astype(np.float32)
    first = model.run(x, capture=["high.stem_activation"])["high.stem_activation"]
    assert (first == 6).any() and (first == 0).any()
    outputs = epcore.compile(model, batch=2, resolution=64)(x)
    expected, bounds = outputs_and_bounds(model, x)
    assert expected.keys() == {"pafs", "confs2", "confs3", "upscaled"}
    for label, maps in expected.items():
        np.testing.assert_allclose(getattr(outputs, label), maps, rtol=0, atol=bounds[label])
        assert bounds[label] <= 1e-3 * np.abs(maps).max(), "the case is too ill-conditioned to tell right from wrong"


def test_trains(rng: np.random.Generator) -> None:
    """Every trainable parameter has a gradient; upscaling is frozen."""
    model = epcore.EfficientPoseLite("RT", auxiliary_heads=True).train()
    model.drop_connect = False  # a branch dropped for the whole batch has no gradient
    tape = epcore.Tape()
    outputs, watched = model.record(rng.normal(size=(2, 32, 32, 3)).astype(np.float32), tape)
    total = None
    for y in outputs.values():
        loss = tape.apply("mse", y, np.ones(y.shape, np.float32))
        total = loss if total is None else tape.apply("add", total, loss)
    assert total is not None
    tape.backward(total)
    assert not any(name.startswith("upscale") for name in watched)
    assert all(np.any(tape.gradient(tensor)) for tensor in watched.values())


@pytest.mark.parametrize("variant", ["III", "RT Lite", "", 0, None])
def test_unknown(variant: object) -> None:
    with pytest.raises(ValueError, match="RT, I, II"):
        epcore.EfficientPoseLite(variant)  # type: ignore[arg-type]
