"""Steps one by one: those that no EfficientPose has, a new one from a file of its own, records that say what is in them."""

from __future__ import annotations

import numpy as np
import pytest
from average_pool_step import DEFINITION, AveragePool
from test_inference import assert_close
from tolerances import settle

import epcore
from epcore.graph import INPUT, GraphBuilder
from epcore.inference import steps
from epcore.inference.steps import pool
from epcore.inference.steps.record import Y_OFFSET
from epcore.kernels.cpu.processor import LANES
from epcore.network import Network

SIDE = 22


def network(*ops: str, channels: int = LANES + 3, batch_norm: bool = False) -> Network:
    """A stem, then these operators one after the other, then a head."""
    builder = GraphBuilder((SIDE, SIDE, 3))
    x = builder.activation("stem", builder.conv2d("conv", INPUT, channels, kernel=3), "swish")
    for number, op in enumerate(ops):
        name = f"{op}{number}"
        match op:
            case "prelu" | "max_pool":
                x = getattr(builder, op)(name, x)
            case "avg_pool":
                x = builder.avg_pool(name, x)
            case "conv2d":
                x = builder.conv2d(name, x, channels, kernel=3, bias=True)
            case "strided":
                x = builder.conv2d(name, x, channels, kernel=1, stride=2, bias=True)
            case _:
                x = builder.activation(name, x, op)
    return settle(Network(builder.graph({"y": builder.conv2d("head", x, LANES, bias=True)}), "-".join(ops)))


@pytest.mark.parametrize(
    "ops",
    [
        ("max_pool",), ("avg_pool",), ("prelu",), ("relu",), ("eswish",), ("sigmoid",), ("conv2d",), ("conv2d", "prelu"),
        ("strided",), ("conv2d", "relu", "max_pool", "conv2d", "prelu", "avg_pool", "swish"),
    ],
    ids="-".join,
)  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2])
def test_steps_that_no_efficientpose_has(ops: tuple[str, ...], threads: int, rng: np.random.Generator) -> None:
    model = network(*ops)
    x = rng.normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    assert_close(epcore.compile(model, 2, threads=threads)(x), model, x)


def test_openpose(rng: np.random.Generator) -> None:
    model = settle(epcore.OpenPose())
    x = rng.normal(size=(1, 48, 64, 3)).astype(np.float32)
    plan = epcore.compile(model, resolution=(48, 64))
    got = plan(x)
    assert isinstance(got, epcore.PoseOutputs)
    assert_close(got, model, x)
    assert plan(x, out=got) is got


def test_a_convolution_of_the_picture_without_window(rng: np.random.Generator) -> None:
    builder = GraphBuilder((SIDE, SIDE, 3))
    model = settle(Network(builder.graph({"y": builder.conv2d("only", INPUT, LANES + 1, bias=True)}), "one layer"))
    x = rng.normal(size=(1, SIDE, SIDE, 3)).astype(np.float32)
    assert_close(epcore.compile(model)(x), model, x)


@pytest.mark.parametrize("at", [(4, 6), (4, 7), (5, 6), (5, 7)])
def test_max_pooling_keeps_nan(at: tuple[int, int]) -> None:
    """Wherever it is in its window, which holds zeros else."""
    builder = GraphBuilder((SIDE, SIDE, LANES))
    x = builder.conv2d("mix", builder.conv2d("ten", INPUT, LANES), LANES)
    model = Network(builder.graph({"y": builder.max_pool("pool", x)}), "pool")
    mix = np.zeros((LANES, LANES), np.float32)
    mix[3, 4], mix[5, 4] = 1, -1  # infinity minus infinity where ten times both channels exceeds float32
    model.parameters |= {"ten/kernel": 10 * np.eye(LANES, dtype=np.float32)[None, None], "mix/kernel": mix[None, None]}
    picture = np.zeros((1, SIDE, SIDE, LANES), np.float32)
    picture[0, *at, [3, 5]] = 3e38
    y = epcore.compile(model)(picture)["y"]
    assert np.isnan(y[0, 2, 3, 4])
    assert np.isnan(y).any(axis=-1).sum() == 1


def test_a_new_step_is_one_file(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    model = network("avg_pool")
    x = rng.normal(size=(1, SIDE, SIDE, 3)).astype(np.float32)
    others = [each for each in steps.DEFINITIONS if each is not pool.DEFINITION]
    monkeypatch.setattr(steps, "DEFINITIONS", others)
    monkeypatch.setattr("epcore.inference.fuse.DEFINITIONS", others)
    with pytest.raises(ValueError, match=r"avg_pool0 \(avg_pool\) stands where plans cannot take it"):
        epcore.compile(model)
    others.append(DEFINITION)
    plan = epcore.compile(model)
    assert sum(isinstance(step, AveragePool) for step in plan.steps) == 1
    assert_close(plan(x), model, x)


def test_records_have_the_fields_of_their_kind() -> None:
    for kind in steps.kinds():
        assert kind.record.itemsize % 8 == 0
        names = list(kind.record.names or ())
        assert names[:3] == ["kind", "tasks", "y"]
        assert kind.record.fields is not None
        assert kind.record.fields["y"][1] == 8 * Y_OFFSET
