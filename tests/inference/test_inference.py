"""Plans give what the networks give: the reference on golden inputs, every variant and ablation, any threads, any call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tolerances import outputs_and_bounds, settle

import epcore
from epcore.graph import INPUT, GraphBuilder
from epcore.inference.fuse import fuse
from epcore.inference.layout import Buffer, allocate
from epcore.inference.step import NoPlanError
from epcore.inference.steps.dense import Dense
from epcore.kernels.cpu.processor import LANES
from epcore.models import PoseOutputs
from epcore.network import Network

DataPath = Callable[[str], Path]


def by_label(outputs: PoseOutputs | dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return outputs if isinstance(outputs, dict) else outputs.by_label()


def assert_close(outputs: PoseOutputs | dict[str, np.ndarray], model: Network, x: np.ndarray) -> None:
    """Against the reference in double, within what float32 rounding does to this network and this x."""
    expected, bounds = outputs_and_bounds(model, x)
    if isinstance(outputs, PoseOutputs):
        expected = {label: maps for label, maps in expected.items() if PoseOutputs.holds(label)}
    got = by_label(outputs)
    assert got.keys() == expected.keys()
    for label, maps in expected.items():
        assert np.abs(got[label] - maps).max() <= bounds[label], label
        assert bounds[label] <= 1e-3 * np.abs(maps).max(), "the case is too ill-conditioned to tell right from wrong"


@pytest.mark.parametrize(("variant", "picture"), [("RT", "photo"), ("RT", "gradient"), ("I", "photo")])
def test_golden_outputs(variant: str, picture: str, data_path: DataPath) -> None:
    model = epcore.EfficientPose(variant)
    epcore.load_weights(model, data_path(f"release/EfficientPose{variant}.h5"))
    plan = epcore.compile(model)
    with np.load(data_path(f"golden/EfficientPose{variant}.npz")) as golden:
        outputs = plan(golden[f"{picture}/x"])
        for name in ("pafs", "confs2", "confs3", "upscaled"):
            assert np.abs(getattr(outputs, name) - golden[f"{picture}/{name}"]).max() <= 1e-5, name


@pytest.mark.parametrize(
    ("variant", "options", "resolution"),
    [
        ("RT", {}, (64, 64)),
        ("RT", {}, (72, 40)),  # not square, maps no multiple of a tile or strip
        ("RT", {}, (16, 16)),  # maps smaller than a tile
        ("I", {}, (96, 96)),
        ("I", {"cross_resolution": False}, (64, 64)),
        ("I", {"skeleton": False}, (64, 64)),
        ("I", {"passes": 1}, (64, 64)),
        ("I", {"passes": 3, "upscaling": False}, (64, 64)),
        ("II", {}, (48, 48)),
        ("III", {}, (48, 48)),
        ("IV", {}, (48, 48)),
        (6, {}, (32, 32)),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_network(
    variant: str | int, options: dict[str, int], resolution: tuple[int, int], batch: int, rng: np.random.Generator
) -> None:
    model = settle(epcore.EfficientPose(variant, **options))  # type: ignore[arg-type]
    x = rng.normal(size=(batch, *resolution, 3)).astype(np.float32)
    plan = epcore.compile(model, batch=batch, resolution=resolution)
    assert_close(plan(x), model, x)


@pytest.mark.parametrize("resolution", [(224, 224), (16, 512)])
def test_flat_pictures(resolution: tuple[int, int]) -> None:
    """Large areas of one colour: roundings of sums over pixels go the same way instead of averaging out."""
    H, W = resolution
    x = np.full((1, H, W, 3), [0.31, -0.7, 1.1], np.float32)
    x[:, H // 4 : H // 2, W // 3 : W // 2] = [-2.1, 0.3, 0.9]
    x[:, H // 2 :, : W // 5] = [0.11, 1.3, -0.7]
    model = settle(epcore.EfficientPose("RT"))
    assert_close(epcore.compile(model, resolution=resolution)(x), model, x)
    for backend in ("reference", "cpu"):
        with epcore.use_backend(backend):
            assert_close(model.run(x), model, x)


@pytest.mark.parametrize("scale", ["B0", "B1", "B4"])
@pytest.mark.parametrize("size", [64, 63])
def test_backbones_at_even_and_odd_sizes(scale: str, size: int, rng: np.random.Generator) -> None:
    model = settle(epcore.EfficientNet(scale))
    x = rng.normal(size=(2, size, size, 3)).astype(np.float32)
    assert_close(epcore.compile(model, batch=2, resolution=size)(x), model, x)


def test_dense_upscaling_kernels(rng: np.random.Generator) -> None:
    model = settle(epcore.EfficientPose("RT"))
    for name in ("upscale1/kernel", "upscale2/kernel"):
        model.parameters[name] = rng.normal(0, 0.1, model.parameters[name].shape).astype(np.float32)
    x = rng.normal(size=(1, 40, 40, 3)).astype(np.float32)
    assert_close(epcore.compile(model, resolution=40)(x), model, x)


def test_concatenations_that_disagree(rng: np.random.Generator) -> None:
    """Two tensors in either order: one of the concatenations has to copy them."""
    builder = GraphBuilder((16, 16, 3))
    x = builder.activation("stem", builder.conv2d("conv", INPUT, 2 * LANES, kernel=3, stride=2), "swish")
    a, b = builder.conv2d("a", x, LANES), builder.conv2d("b", x, LANES + 5)
    one, other = (
        builder.conv2d(f"read_{name}", builder.concat(name, *parts), LANES) for name, parts in (("ab", (a, b)), ("ba", (b, a)))
    )
    model = Network(builder.graph({"y": builder.add("sum", one, other)}), "two orders")
    plan = epcore.compile(model)
    assert sum(step.label == "ab (copy)" for step in plan._program.steps) == 2
    picture = rng.normal(size=(1, 16, 16, 3)).astype(np.float32)
    assert_close(plan(picture), model, picture)


def test_bitwise_the_same_on_every_call_and_for_any_threads(rng: np.random.Generator) -> None:
    model = settle(epcore.EfficientPose("I"))
    xs = rng.normal(size=(3, 1, 64, 64, 3)).astype(np.float32)
    plans = [epcore.compile(model, resolution=64, threads=threads) for threads in (1, 2, 3)]
    first = [plans[0](x).upscaled for x in xs]
    for plan in plans:
        for _ in range(3):
            for x, expected in zip(xs, first, strict=True):
                assert np.array_equal(plan(x).upscaled, expected)


def test_batch_is_as_many_single_pictures(rng: np.random.Generator) -> None:
    model = settle(epcore.EfficientPose("I"))
    x = rng.normal(size=(3, 64, 64, 3)).astype(np.float32)
    single = epcore.compile(model, resolution=64)
    expected = np.concatenate([single(x[i : i + 1]).upscaled for i in range(3)])
    assert np.array_equal(epcore.compile(model, batch=3, resolution=64)(x).upscaled, expected)


def test_a_call_allocates_what_it_returns(rng: np.random.Generator) -> None:
    import tracemalloc

    plan = epcore.compile(epcore.EfficientPose("RT"))
    x = rng.normal(size=(1, 224, 224, 3)).astype(np.float32)
    out = plan(x)
    returned = sum(maps.nbytes for maps in by_label(out).values())

    def peak(call: Callable[[], object]) -> int:
        tracemalloc.start()
        call()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    # np.isfinite makes one byte an element of x; rows and counters of a run are some 60 kB.
    assert peak(lambda: plan(x, out=out)) < x.size + 100_000
    assert returned < peak(lambda: plan(x)) < returned + x.size + 100_000


def test_maps_that_nothing_reads_have_no_place_in_the_plan(rng: np.random.Generator) -> None:
    plan = epcore.compile(epcore.EfficientPose("RT"))
    assert plan._program.direct.keys() == {"pafs", "confs2", "upscaled"}
    assert plan._program.outputs.keys() == {"confs3"}  # the upscaling reads it


class TestProfile:
    def test_counts_the_whole_network(self) -> None:
        model = epcore.EfficientPose("I")
        profile = epcore.compile(model, resolution=64).profile(repeats=2)
        macs = sum(cost.macs for cost in model.graph.costs(1, (64, 64, 3)).values())
        assert sum(timing.flops for timing in profile) == 2 * macs
        assert "total" in str(profile)
        assert all(timing.seconds > 0 for timing in profile)

    def test_sets_what_was_chosen_and_expected_beside_it(self) -> None:
        plan = epcore.compile(epcore.EfficientPose("II"), resolution=128, threads=2)
        profile = plan.profile(repeats=1)
        assert [timing.choice for timing in profile] == [row.choice for row in plan._program.steps]
        assert [timing.predicted for timing in profile] == [row.seconds for row in plan._program.steps]
        assert all(timing.predicted is not None and timing.predicted > 0 for timing in profile)
        lines = str(profile).splitlines()
        assert len(lines) == len(profile) + 2
        assert max(map(len, lines)) <= 120
        for line, timing in zip(lines[1:], profile, strict=False):
            assert line.endswith(str(timing.choice))
            assert f"{timing.predicted * 1e3:.3f}" in line
        shown = {str(timing.choice).split()[0] for timing in profile if str(timing.choice)}
        assert shown == {"band", "strip", "chunk"}


class TestRefused:
    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (np.zeros((1, 32, 32, 3)), TypeError, "float64"),
            (np.zeros((2, 32, 32, 3), np.float32), ValueError, r"expected \(1, 32, 32, 3\)"),
            (np.zeros((1, 32, 3, 32), np.float32).transpose(0, 1, 3, 2), ValueError, "C-contiguous"),
            (np.full((1, 32, 32, 3), np.inf, np.float32), ValueError, "3072 values that are NaN"),
            ([0.0], TypeError, "list"),
        ],
    )
    def test_input(self, x: object, error: type[Exception], message: str) -> None:
        plan = epcore.compile(epcore.EfficientPose("RT"), resolution=32)
        with pytest.raises(error, match=message):
            plan(x)  # type: ignore[arg-type]

    def test_models(self) -> None:
        with pytest.raises(TypeError, match="float64"):
            epcore.compile(epcore.EfficientPose("RT").astype(np.float64))
        with pytest.raises(ValueError, match="training mode"):
            epcore.compile(epcore.EfficientPose("RT").train())
        with pytest.raises(TypeError, match="str"):
            epcore.compile("RT")  # type: ignore[arg-type]

    @pytest.mark.parametrize("kind", ["concat", "add", "depthwise_conv2d"])
    def test_readers_of_the_picture(self, kind: str) -> None:
        builder = GraphBuilder((16, 16, LANES))
        x = builder.conv2d("stem", INPUT, LANES, kernel=3)
        if kind in ("concat", "add"):
            x = getattr(builder, kind)("reader", x, INPUT)
        else:
            x = builder.depthwise_conv2d("reader", INPUT, kernel=3)
        model = Network(builder.graph({"y": builder.conv2d("head", x, LANES)}), "reads its input")
        with pytest.raises(ValueError, match=r"reads the picture itself"):
            epcore.compile(model)

    @pytest.mark.parametrize("output", [INPUT, "half"])
    def test_outputs_that_no_step_writes(self, output: str) -> None:
        builder = GraphBuilder((16, 16, 3))
        x = builder.conv2d("conv", builder.avg_pool("half", INPUT), LANES, kernel=3)
        model = Network(builder.graph({"y": x, "other": output}), "gives its input")
        with pytest.raises(NoPlanError, match=r"the output other is the picture itself, or its half"):
            epcore.compile(model)

    @pytest.mark.parametrize("options", [{"batch": 0}, {"threads": 0}, {"batch": 1.0}, {"threads": True}])
    def test_numbers(self, options: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="expected a whole number"):
            epcore.compile(epcore.EfficientPose("RT"), **options)

    def test_threads_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EPCORE_THREADS", "1")
        assert epcore.compile(epcore.EfficientPose("RT"), resolution=32).threads == 1
        monkeypatch.setenv("EPCORE_THREADS", "many")
        with pytest.raises(ValueError, match="EPCORE_THREADS is 'many'"):
            epcore.compile(epcore.EfficientPose("RT"), resolution=32)


class TestFuse:
    def test_covers_every_node_once(self) -> None:
        graph = epcore.EfficientPose("II").graph
        steps = fuse(graph, epcore.EfficientPose("II").parameters)
        nodes = [name for step in steps for name in step.nodes]
        assert len(nodes) == len(set(nodes)) == len(graph.nodes)

    def test_batch_norm_by_hand(self) -> None:
        """One channel: w = 2, gamma = 3, beta = 1, mean = 4, variance = 9 - epsilon: w' = 2 * 3 / 3, b' = 1 - 4 * 3 / 3."""
        model = epcore.EfficientNet("B0", blocks=1)
        stem, _, *_ = fuse(model.graph, model.parameters | _filled(model, kernel=2, gamma=3, beta=1, mean=4, variance=9 - 1e-3))
        assert isinstance(stem, Dense)
        assert np.allclose(stem.weights, 2, rtol=1e-6)
        assert np.allclose(stem.bias, -3, rtol=1e-6)


def _filled(model: Network, **values: float) -> dict[str, np.ndarray]:
    names = {"kernel": "stem_conv/kernel", "gamma": "stem_bn/gamma", "beta": "stem_bn/beta"}
    names |= {"mean": "stem_bn/moving_mean", "variance": "stem_bn/moving_variance"}
    return {names[key]: np.full_like(model.parameters[names[key]], value) for key, value in values.items()}


def test_buffers_alive_together_never_overlap(rng: np.random.Generator) -> None:
    for _ in range(200):
        buffers = [
            Buffer(int(rng.integers(1, 100)), first := int(rng.integers(20)), first + int(rng.integers(6))) for _ in range(15)
        ]
        end = allocate(buffers, 32)
        for i, a in enumerate(buffers):
            assert a.offset >= 32
            assert a.offset + a.size <= end
            for b in buffers[:i]:
                apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
                assert apart or a.last < b.first or b.last < a.first
