"""`epcore readiness`: ranges, sums and rounding against NumPy, naive loops and hand values; the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import exit_code
from tolerances import EPS, epsilons, outputs_and_bounds

from epcore.cli import main
from epcore.graph import INPUT, GraphBuilder
from epcore.models import EfficientPose, EfficientPoseLite
from epcore.network import Network
from epcore.port.readiness.assess import CHAIN_SUMS, FLOAT16, INT8, TREE_SUMS, LayerReport, Readiness, assess
from epcore.port.readiness.device import device_network
from epcore.port.readiness.findings import find
from epcore.port.readiness.keypoints import Decoded, shift
from epcore.port.readiness.ranges import Observer, parameter_range
from epcore.port.readiness.rounding import chain_mean, quantize, quantize_kernel, to_half, tree_mean
from epcore.pose.preprocess import Geometry


def build(shape: tuple[int, int, int], add: Callable[[GraphBuilder], str], **parameters: Any) -> Network:
    """A network whose only output is what `add` writes; parameters by name, "/" as "__"; others as they start."""
    builder = GraphBuilder(shape)
    network = Network(builder.graph({"y": add(builder)}), "small")
    for name, values in parameters.items():
        key = name.replace("__", "/")
        network.parameters[key] = np.broadcast_to(np.float32(values), network.parameters[key].shape).copy()
    return network


def activation(kind: str) -> Callable[[GraphBuilder], str]:
    """The activation of an unchanged input; with `same__kernel=1`."""
    return lambda builder: builder.activation(kind, builder.depthwise_conv2d("same", INPUT, kernel=1), kind)


def report_of(network: Network, *inputs: np.ndarray, folded: bool = True, **options: Any) -> tuple[Readiness, dict[str, Any]]:
    report = assess(device_network(network, folded=folded), [x.astype(np.float32) for x in inputs], **options)
    return report, {layer.name: layer for layer in report.layers}


def kinds(report: Readiness) -> list[tuple[str, str]]:
    return [(finding.layer, finding.kind) for finding in find(report)]


class TestRanges:
    @pytest.mark.parametrize(
        ("pictures", "shape"), [(1, (1, 1, 1, 1)), (1, (1, 7, 5, 3)), (3, (1, 20, 17, 4)), (4, (1, 31, 40, 2))]
    )
    def test_as_numpy(self, pictures: int, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        xs = (rng.standard_normal((pictures, *shape)) ** 3).astype(np.float32)
        observer = Observer(pictures)
        for x in xs:
            observer.add(x)
        found = observer.range()
        assert (found.minimum, found.maximum) == (xs.min(), xs.max())
        assert found.largest == np.abs(xs).max()
        np.testing.assert_allclose(found.percentile, np.percentile(np.abs(xs).astype(np.float64), 99.9), rtol=1e-12)
        channels = np.abs(xs).max(axis=(0, 1, 2, 3))
        np.testing.assert_allclose(found.spread, channels.max() / np.median(channels), rtol=1e-6)

    def test_small_values_by_hand(self) -> None:
        """Half's smallest normal number is 2^-14, half of its smallest subnormal 2^-25."""
        values = [0, 0, 2**-14, -(2**-14) * 0.999, 1e-6, 2**-24, 2**-25, -(2**-26), 1.0, -3.0]
        observer = Observer(1)
        observer.add(np.float32(values).reshape(1, 1, -1, 1))
        assert observer.range().subnormal == 0.5
        assert observer.range().to_zero == 0.2
        found = parameter_range([np.float32(values[:4]), np.float32(values[4:])])
        assert found is not None and (found.largest, found.subnormal, found.to_zero) == (3.0, 0.5, 0.2)
        assert parameter_range([]) is None

    def test_all_pictures_or_none(self) -> None:
        observer = Observer(2)
        observer.add(np.ones((1, 40, 40, 2), np.float32))
        with pytest.raises(ValueError, match="before all were seen"):
            observer.range()

    def test_channels_that_are_always_zero(self) -> None:
        observer = Observer(1)
        observer.add(np.float32([0, 0, 0, 2, 4]).reshape(1, 1, 1, 5))
        assert observer.range().spread == pytest.approx(4 / 3)


class TestRounding:
    def test_half(self) -> None:
        x = np.float32(
            [65504, 65519.99, 65520, -1e9, 1 + 2**-11, 1 + 3 * 2**-11, 2**-14, 2**-14 - 2**-24, 2**-25, 1.01 * 2**-25]
        )
        expected = [65504, 65504, np.inf, -np.inf, 1, 1 + 2**-9, 2**-14, 2**-14 - 2**-24, 0, 2**-24]
        assert to_half(x).tolist() == expected
        assert to_half(x, flush=True).tolist() == [*expected[:7], 0, 0, 0]

    @pytest.mark.parametrize("affine", [True, False])
    @pytest.mark.parametrize(("low", "high"), [(-0.2785, 84.4), (-3.0, 2.0), (0.5, 7.0), (-9.0, -2.0), (0.0, 0.0)])
    def test_maps_against_a_loop(self, low: float, high: float, affine: bool, rng: np.random.Generator) -> None:
        x = np.append(rng.uniform(low - 1, high + 1, 500), [0, low, high]).astype(np.float32)
        bottom, top = min(low, 0.0), max(high, 0.0)
        expected = []
        for value in map(float, x):
            if bottom == top:
                expected.append(0.0)
            elif affine:
                scale = (top - bottom) / 255
                zero = round(-128 - bottom / scale)
                expected.append((min(127, max(-128, round(value / scale) + zero)) - zero) * scale)
            else:
                scale = max(-bottom, top) / 127
                expected.append(min(127, max(-127, round(value / scale))) * scale)
        got = quantize(x, low, high, affine=affine)
        assert got.dtype == np.float32
        assert got[500] == 0
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
        assert len(np.unique(got)) <= (256 if affine else 255)

    @pytest.mark.parametrize(("shape", "axis"), [((3, 3, 4, 5), 3), ((5, 5, 6), 2), ((4, 4, 3, 2), 2)])
    def test_kernels_against_a_loop(self, shape: tuple[int, ...], axis: int, rng: np.random.Generator) -> None:
        w = (
            rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape[axis])[(...,) + (None,) * (len(shape) - 1 - axis)]
        ).astype(np.float32)
        np.moveaxis(w, axis, 0)[1] = 0
        expected = np.zeros(shape)
        for channel in range(shape[axis]):
            part = np.moveaxis(w, axis, 0)[channel].astype(np.float64)
            scale = np.abs(part).max() / 127
            if scale:
                np.moveaxis(expected, axis, 0)[channel] = np.round(part / scale) * scale
        np.testing.assert_allclose(quantize_kernel(w, axis), expected, rtol=1e-5)

    def test_means_in_float16(self, rng: np.random.Generator) -> None:
        x = rng.uniform(0, 20, (1, 9, 40, 3)).astype(np.float32)
        x[..., 2] *= 100
        for channel, (chain, tree) in enumerate(zip(chain_mean(x)[0, 0, 0], tree_mean(x)[0, 0, 0], strict=True)):
            total = np.float16(0)
            with np.errstate(over="ignore"):
                for value in x[0, :, :, channel].ravel():
                    total = np.float16(total + np.float16(value))
                whole = np.float16(x[..., channel].sum())
            assert chain == np.float32(total) / np.float32(360)
            assert tree == np.float32(whole) / np.float32(360)
        assert tree_mean(x)[0, 0, 0, 2] == np.inf


class TestDeviceNetwork:
    @pytest.mark.parametrize("folded", [True, False])
    @pytest.mark.parametrize("make", [lambda: EfficientPose("I"), lambda: EfficientPoseLite("RT")])
    def test_gives_the_same_maps(self, make: Callable[[], EfficientPose], folded: bool, rng: np.random.Generator) -> None:
        model = make()
        for name, array in model.parameters.items():
            if name.endswith(("gamma", "moving_variance")):
                model.parameters[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
            elif name.endswith(("beta", "moving_mean", "bias")):
                model.parameters[name] = rng.normal(0, 0.3, array.shape).astype(np.float32)
        x = rng.standard_normal((1, 64, 64, 3)).astype(np.float32)
        before = {name: array.copy() for name, array in model.parameters.items()}
        network = device_network(model, folded=folded)
        _, bounds = outputs_and_bounds(model, x)
        found = network.run(x)
        for label, maps in model.run(x).items():
            np.testing.assert_allclose(found[label], maps, rtol=0, atol=2 * bounds[label])  # both round
            assert bounds[label] <= 1e-3 * np.abs(maps).max()
        ops = {node.op for node in network.nodes.values()}
        assert not {"squeeze_excite", "drop_connect"} & ops
        assert ("batch_norm" in ops) != folded
        assert all((before[name] == model.parameters[name]).all() for name in before)

    def test_a_convolution_that_others_read_is_not_folded(self, rng: np.random.Generator) -> None:
        def add(builder: GraphBuilder) -> str:
            conv = builder.conv2d("conv", INPUT, 3)
            return builder.add("add", builder.batch_norm("bn", conv), conv)

        network = build((4, 4, 3), add, bn__gamma=2, bn__moving_variance=3)
        x = rng.standard_normal((1, 4, 4, 3)).astype(np.float32)
        device = device_network(network)
        assert list(device.nodes) == ["conv", "bn", "add"]
        y = network.run(x)["y"]
        np.testing.assert_allclose(device.run(x)["y"], y, rtol=0, atol=epsilons(1) * EPS * np.abs(y).max())

    def test_refuses(self) -> None:
        def network() -> Network:
            return build((4, 4, 3), lambda builder: builder.conv2d("conv", INPUT, 3))

        with pytest.raises(ValueError, match="training mode"):
            device_network(network().train())
        with pytest.raises(TypeError, match=r"conv/kernel of small is a ndarray of float64, expected NumPy float32"):
            device_network(network().astype(np.float64))


class TestHalf:
    def test_a_value_beyond_half(self) -> None:
        """70,000 overflows; what reads it does not; the infinity goes on in the experiment."""

        def add(builder: GraphBuilder) -> str:
            return builder.conv2d("down", builder.conv2d("up", INPUT, 1), 1)

        network = build((2, 2, 1), add, up__kernel=700, down__kernel=0.001)
        x = np.full((1, 2, 2, 1), 100.0)
        report, layers = report_of(network, x)
        assert kinds(report) == [("up", "value")]
        assert layers["up"].range.largest == 70_000
        assert [layers[name].own[FLOAT16].relative for name in ("up", "down")] == [np.inf, pytest.approx(0, abs=1e-3)]
        assert [layers[name].total[FLOAT16].relative for name in ("up", "down")] == [np.inf, np.inf]
        assert layers["up"].total[FLOAT16].sqnr == -np.inf
        assert layers["down"].total[INT8].relative < 1e-2
        report, _ = report_of(network, x * 0.93)  # 65,100 fits
        assert kinds(report) == []

    def test_infinity_minus_infinity(self) -> None:
        def add(builder: GraphBuilder) -> str:
            return builder.conv2d("down", builder.conv2d("up", INPUT, 2), 1)

        network = build((2, 2, 1), add, up__kernel=[700, 680])
        network.parameters["down/kernel"][...] = np.float32([1, -1])[:, None]
        _, layers = report_of(network, np.full((1, 2, 2, 1), 100.0))
        assert layers["down"].range.largest == 2000
        assert (layers["down"].total[FLOAT16].relative, layers["down"].total[FLOAT16].sqnr) == (np.inf, -np.inf)

    def test_rounded_kernels_are_a_layers_own_error(self) -> None:
        """1 + 2^-12 becomes 1: the difference of two channels was all there is."""
        network = build((2, 2, 2), lambda builder: builder.conv2d("conv", INPUT, 1))
        network.parameters["conv/kernel"][...] = np.float32([1 + 2**-12, -1])[:, None]
        _, layers = report_of(network, np.ones((1, 2, 2, 2)))
        assert layers["conv"].range.largest == 2**-12
        assert layers["conv"].own[FLOAT16].relative == 1

    def test_the_sum_overflows_and_the_mean_does_not(self) -> None:
        network = build((112, 112, 1), lambda builder: builder.squeeze_excite("se", INPUT, reduced=1, activation="swish"))
        report, layers = report_of(network, np.full((1, 112, 112, 1), 6.0))
        assert kinds(report) == [("se/mean", "sum"), ("se/mean", "stagnation")]
        mean = layers["se/mean"]
        assert (mean.range.largest, mean.sums.sum, mean.sums.bound) == (6, 6 * 112**2, 6 * 112**2)
        assert mean.own[FLOAT16].relative == 0
        assert mean.own[TREE_SUMS].relative == np.inf
        stuck = 1 - 16384 / 6 / 112**2  # from 16,384 on neighbours are 16 apart, and + 6 changes nothing
        assert mean.sums.chain_error == pytest.approx(stuck, rel=1e-6)
        assert mean.own[CHAIN_SUMS].relative == pytest.approx(stuck, rel=2**-11)  # the mean is rounded as well
        assert layers["se"].total[FLOAT16].relative < 1e-3
        report, layers = report_of(network, np.full((1, 112, 112, 1), 5.0))
        assert ("se/mean", "sum") not in kinds(report)
        assert layers["se/mean"].total[TREE_SUMS].relative < 1e-3

    def test_a_sum_that_cancels(self) -> None:
        """Halves of opposite sign: the order decides."""
        network = build((112, 112, 1), lambda builder: builder.squeeze_excite("se", INPUT, reduced=1, activation="swish"))
        x = np.full((1, 112, 112, 1), 12.0)
        x[:, 56:] = -12
        report, layers = report_of(network, x)
        assert layers["se/mean"].sums.sum == 0
        assert layers["se/mean"].sums.bound == 12 * 112**2
        assert ("se/mean", "partial sum") in kinds(report)
        assert ("se/mean", "sum") not in kinds(report)

    def test_partial_sums_of_a_convolution(self, rng: np.random.Generator) -> None:
        network = build((5, 6, 2), lambda builder: builder.conv2d("conv", INPUT, 3, kernel=3, bias=True))
        w, b = rng.normal(0, 30, (3, 3, 2, 3)), rng.normal(0, 30, 3)
        network.parameters |= {"conv/kernel": w.astype(np.float32), "conv/bias": b.astype(np.float32)}
        x = rng.normal(0, 100, (1, 5, 6, 2))
        padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
        expected = max(
            (np.abs(padded[i : i + 3, j : j + 3, :, None] * w).sum(axis=(0, 1, 2)) + np.abs(b)).max()
            for i in range(5)
            for j in range(6)
        )
        report, layers = report_of(network, x)
        np.testing.assert_allclose(layers["conv"].sums.bound, expected, rtol=1e-5)
        assert kinds(report) == []
        factor = 66_000 / layers["conv"].sums.bound
        assert layers["conv"].range.largest * factor < 65_000
        network.parameters["conv/kernel"] *= np.float32(factor)
        network.parameters["conv/bias"] *= np.float32(factor)
        assert kinds(report_of(network, x)[0]) == [("conv", "partial sum")]

    def test_subnormal_numbers(self) -> None:
        """3e-5 keeps its leading bits, or becomes zero."""
        network = build((4, 4, 1), activation("relu"), same__kernel=1)
        x = np.full((1, 4, 4, 1), 3e-5)
        x[0, 0] = 1
        _, layers = report_of(network, x)
        assert (layers["relu"].range.subnormal, layers["relu"].range.to_zero) == (0.75, 0)
        assert layers["relu"].total[FLOAT16].difference < 2**-25
        _, layers = report_of(network, x, flush=True)
        assert layers["relu"].total[FLOAT16].difference == np.float32(3e-5)

    def test_parameters_and_batch_norms(self) -> None:
        def add(epsilon: float) -> Callable[[GraphBuilder], str]:
            def nodes(builder: GraphBuilder) -> str:
                name = builder.batch_norm("bn", builder.conv2d("conv", INPUT, 2))
                builder.nodes[name].attributes["epsilon"] = epsilon  # type: ignore[index]
                return name

            return nodes

        x = np.full((1, 3, 3, 1), 1e-3)
        network = build((3, 3, 1), add(1e-3), conv__kernel=70_000, bn__moving_variance=0)
        assert kinds(report_of(network, x, folded=False)[0]) == [("conv", "parameter")]
        network = build((3, 3, 1), add(1e-5), conv__kernel=1, bn__moving_variance=0)
        assert kinds(report_of(network, x, folded=False)[0]) == [("bn", "variance")]
        assert kinds(report_of(network, x, folded=False, flush=True)[0]) == [("bn", "variance"), ("bn", "scale")]
        network = build((3, 3, 1), add(1e-8), conv__kernel=1, bn__moving_variance=0)
        assert kinds(report_of(network, x, folded=False)[0]) == [("bn", "variance"), ("bn", "scale")]
        network = build((3, 3, 1), add(1e-3), conv__kernel=3000, bn__moving_variance=0)
        assert kinds(report_of(network, x)[0]) == [("bn", "parameter")]  # 3000 / sqrt(0.001) once folded

    def test_exponentials(self) -> None:
        network = build((2, 2, 1), activation("swish"), same__kernel=1)
        assert kinds(report_of(network, np.full((1, 2, 2, 1), 11.05))[0]) == []
        assert kinds(report_of(network, np.full((1, 2, 2, 1), -11.15))[0]) == []  # e^x is 0: no harm
        assert kinds(report_of(network, np.full((1, 2, 2, 1), 11.15))[0]) == [("swish", "exponential")]

    def test_errors_against_float16_arithmetic(self, rng: np.random.Generator) -> None:
        """Two layers: `own` starts from exact inputs, `total` from rounded ones, over both pictures."""

        def add(builder: GraphBuilder) -> str:
            return builder.conv2d("second", builder.conv2d("first", INPUT, 8, bias=True), 4)

        network = build((6, 6, 5), add, first__bias=0.3)
        xs = [rng.standard_normal((1, 6, 6, 5)).astype(np.float32) for _ in range(2)]
        _, layers = report_of(network, *xs)
        w1, b1, w2 = (network.parameters[name] for name in ("first/kernel", "first/bias", "second/kernel"))

        def half(x: np.ndarray) -> np.ndarray:
            return x.astype(np.float16).astype(np.float32)

        worst = {"own": 0.0, "total": 0.0}
        squares, energy, largest = 0.0, 0.0, 0.0
        for x in xs:
            hidden = x @ w1[0, 0] + b1
            exact = hidden @ w2[0, 0]
            own = half(hidden @ half(w2[0, 0]))
            total = half(half(half(x) @ half(w1[0, 0]) + half(b1)) @ half(w2[0, 0]))
            worst = {key: max(worst[key], np.abs(y - exact).max()) for key, y in (("own", own), ("total", total))}
            squares, energy = squares + float(np.square(total - exact).sum()), energy + float(np.square(exact).sum())
            largest = max(largest, float(np.abs(exact).max()))
        second = layers["second"]
        # a product may round to the neighbouring half in another order of summation: half an ulp of a value below `largest`
        assert second.own[FLOAT16].relative == pytest.approx(worst["own"] / largest, abs=2**-11)
        assert second.total[FLOAT16].relative == pytest.approx(worst["total"] / largest, abs=2**-11)
        assert second.total[FLOAT16].sqnr == pytest.approx(10 * np.log10(energy / squares), abs=1)
        assert second.total[FLOAT16].squares > second.own[FLOAT16].squares


class TestInt8:
    @pytest.mark.parametrize(("op", "axis"), [("conv2d", 3), ("depthwise_conv2d", 2), ("conv_transpose2d", 2)])
    def test_a_layer_with_quantized_kernel(self, op: str, axis: int, rng: np.random.Generator) -> None:
        def add(builder: GraphBuilder) -> str:
            if op == "depthwise_conv2d":
                return builder.depthwise_conv2d("layer", INPUT, kernel=3)
            return getattr(builder, op)("layer", INPUT, 3, kernel=4)

        network = build((6, 6, 3), add)
        w = rng.standard_normal(network.parameters["layer/kernel"].shape).astype(np.float32)
        np.moveaxis(w, axis, 0)[0] *= 50  # with one scale for all, little would be left of the others
        network.parameters["layer/kernel"] = w
        x = rng.standard_normal((1, 6, 6, 3)).astype(np.float32)
        _, layers = report_of(network, x)
        y = network.run(x)["y"]
        network.parameters["layer/kernel"] = quantize_kernel(w, axis)
        own = np.abs(quantize(network.run(x)["y"], float(y.min()), float(y.max())) - y).max()
        total = np.abs(quantize(network.run(quantize(x, float(x.min()), float(x.max())))["y"], y.min(), y.max()) - y).max()
        assert layers["layer"].own[INT8].difference == pytest.approx(own, rel=1e-4)
        assert layers["layer"].total[INT8].difference == pytest.approx(total, rel=1e-4)

    def test_the_range_is_that_of_all_pictures(self) -> None:
        """Steps of 2/255 in both pictures, though the second alone would need smaller ones."""
        network = build((1, 2, 1), activation("relu"), same__kernel=1)
        _, layers = report_of(network, np.float32([2, 0]).reshape(1, 1, 2, 1), np.float32([0.011, 0]).reshape(1, 1, 2, 1))
        assert layers["relu"].own[INT8].difference == pytest.approx(0.011 - 2 / 255, rel=1e-4)

    def test_one_wide_channel_spoils_a_map(self, rng: np.random.Generator) -> None:
        """A channel 100 times wider takes 40 dB from the others; kernels have a scale a channel and do not care."""
        x = rng.uniform(-1, 1, (1, 16, 16, 4))
        even = build((16, 16, 4), lambda builder: builder.depthwise_conv2d("scale", INPUT, kernel=1), scale__kernel=1)
        wide = build(
            (16, 16, 4), lambda builder: builder.depthwise_conv2d("scale", INPUT, kernel=1), scale__kernel=[[[100, 1, 1, 1]]]
        )
        outcomes = []
        for network in (even, wide):
            device = device_network(network)
            _, layers = report_of(network, x)
            exact = device.run(x.astype(np.float32))["y"][..., 1:]
            low, high = layers["scale"].range.minimum, layers["scale"].range.maximum
            outcomes.append((layers["scale"].range.spread, np.abs(quantize(exact, low, high) - exact).max()))
        assert outcomes[0][0] == pytest.approx(1, abs=0.05)
        assert outcomes[1][0] == pytest.approx(100, rel=0.05)
        assert outcomes[1][1] == pytest.approx(100 * outcomes[0][1], rel=0.05)
        assert not [layer for layer in layers.values() if layer.own[INT8].sqnr < 35]  # the whole map's noise stays small

    def test_symmetric_loses_the_negative_end(self, rng: np.random.Generator) -> None:
        """Swish goes down to -0.28 only: with 100 at the other end and no zero point it all rounds to zero."""
        x = rng.uniform(-3, 0, (1, 20, 20, 2))
        x[0, 0, 0] = 100
        network = build((20, 20, 2), activation("swish"), same__kernel=1)
        device = device_network(network)
        y = device.run(x.astype(np.float32))["y"]
        low, high = float(y.min()), float(y.max())
        assert not quantize(y, low, high, affine=False)[y < 0].any()
        assert quantize(y, low, high)[y < 0].any()
        affine, symmetric = (report_of(network, x, affine=choice)[1]["swish"].own[INT8].sqnr for choice in (True, False))
        assert affine > symmetric


class TestKeypoints:
    def maps(self, row: int, column: int, score: float = 1.0) -> np.ndarray:
        maps = np.zeros((1, 32, 32, 16), np.float32)
        maps[0, 16, 16] = 1
        maps[0, :, :, 5] = 0
        maps[0, row, column, 5] = score
        return maps

    def test_by_hand(self) -> None:
        exact, rounded = Decoded(), Decoded()
        for target, places in ((exact, [(10, 10), (10, 10)]), (rounded, [(10, 10), (13, 14)])):
            for row, column in places:
                target.add(self.maps(row, column))
        geometry = Geometry.fit(64, 32, 32)
        found = shift(exact, rounded, [geometry, geometry])
        assert (found.largest, found.in_picture, found.mean) == (5, 10, pytest.approx(5 / 32))
        assert (found.picture, found.keypoint, found.moved, found.lost, found.count) == (1, "thorax", 1, 0, 32)
        assert found.found is None or found.found < 5  # a single pixel scores 0.16 after smoothing

    def test_only_what_was_found_counts_as_found(self) -> None:
        exact, rounded = Decoded(), Decoded()
        exact.add(np.float32(4) * self.maps(10, 10, 0.1))
        rounded.add(np.float32(4) * self.maps(20, 10, 0.1))
        found = shift(exact, rounded, [Geometry.fit(32, 32, 32)])
        assert (found.largest, found.found) == (10, 0)

    def test_lost(self) -> None:
        exact, rounded = Decoded(), Decoded()
        exact.add(self.maps(10, 10))
        broken = self.maps(10, 10)
        broken[0, 3, 3, 5] = np.nan
        rounded.add(broken)
        found = shift(exact, rounded, [Geometry.fit(32, 32, 32)])
        assert (found.lost, found.moved, found.largest) == (1, 0, 0)
        nothing = Decoded()
        nothing.add(np.full_like(broken, np.inf))
        assert shift(exact, nothing, [Geometry.fit(32, 32, 32)]).largest is None


class TestRefused:
    def test_inputs(self) -> None:
        network = device_network(build((4, 4, 3), lambda builder: builder.conv2d("conv", INPUT, 3)))
        x = np.zeros((1, 4, 4, 3), np.float32)
        with pytest.raises(ValueError, match="inputs is empty"):
            assess(network, [])
        with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\) and \(1, 5, 5, 3\), expected one shape"):
            assess(network, [x, np.zeros((1, 5, 5, 3), np.float32)])
        with pytest.raises(ValueError, match="NaN or infinite"):
            assess(network, [x + np.float32(np.nan)])

    def test_a_network_that_overflows_in_float32(self) -> None:
        network = build((2, 2, 1), lambda builder: builder.conv2d("conv", INPUT, 1), conv__kernel=3e38)
        with pytest.raises(ValueError, match="conv of small gives values that are not numbers in float32 already"):
            report_of(network, np.full((1, 2, 2, 1), 10.0))


class TestCommand:
    def test_synthetic_figures(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["readiness", "--pictures", "1", "--seed", "3", "--json", str(tmp_path / "report.json")]) == 0
        text = capsys.readouterr().out
        assert "test-3-0 (synthetic figures" in text
        result = json.loads((tmp_path / "report.json").read_text())
        assert (result["synthetic"], result["pictures"], result["folded"]) == (True, ["test-3-0"], True)
        layers = {layer["name"]: layer for layer in result["layers"]}
        assert len(layers) == len(result["layers"]) == 1 + 170
        assert all(f"\n{name} " in text for name in layers)
        assert layers["input"]["shape"] == [224, 224, 3]
        assert 0 < layers["high.stem_bn"]["float16"]["total"]["relative"] < 2e-3
        assert 20 < layers["high.stem_bn"]["int8"]["own"]["sqnr_db"] < 60
        assert [finding for finding in result["findings"] if finding["overflow"]] == []
        assert "Nothing overflows." in text
        half = result["keypoints"]["float16"]
        assert (half["lost"], half["count"]) == (0, 16)
        assert half["largest"] <= 1
        assert list(result["keypoints"]) == ["float16", "float16_tree_sums", "float16_chain_sums", "int8"]

    def test_the_published_network_on_a_photograph(self, data_path, capsys: pytest.CaptureFixture[str]) -> None:
        """Its first squeeze sums 12,544 values of mean 13."""
        weights, photo = str(data_path("release/EfficientPoseRT.h5")), str(data_path("release/photo.jpg"))
        assert main(["readiness", photo, "--weights", weights, "--json", "-"]) == 0
        captured = capsys.readouterr()
        assert "Half precision" in captured.err
        result = json.loads(captured.out)
        overflows = [(each["layer"], each["kind"]) for each in result["findings"] if each["overflow"]]
        assert overflows == [("high.block1a.se/mean", "sum")]
        mean = next(layer for layer in result["layers"] if layer["name"] == "high.block1a.se/mean")
        stats = np.load(data_path("golden/EfficientPoseRT_photo_layer_stats.npz"))
        key = next(key for key in stats.files if "block1a" in key and "se_squeeze" in key and key.endswith("/mean"))
        np.testing.assert_allclose(mean["maximum"], stats[key].max(), rtol=1e-4)
        np.testing.assert_allclose(mean["sums"]["sum"], stats[key].max() * 112**2, rtol=1e-4)
        assert result["keypoints"]["float16"]["largest"] == 0
        assert result["keypoints"]["float16_tree_sums"]["lost"] == 16

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["none.jpg"], "there is no picture none.jpg"),
            (["--pictures", "0"], "argument --pictures: is '0', expected a whole number from 1"),
            (["--seed", "-1"], "argument --seed: is '-1', expected a whole number from 0"),
            (["picture.jpg", "--seed", "1"], "--seed is for synthetic figures, and pictures are named"),
            (["--model", "II"], "no weights for EfficientPose II"),
            (["--model", "V"], "V"),
            (["--weights", "none.h5"], "none.h5"),
            (["picture.jpg", "--json", "./picture.jpg"], "--json ./picture.jpg would overwrite an input"),
            (["--json", "no/such/folder.json"], "there is no folder"),
        ],
    )
    def test_one_line(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code(["readiness", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith(("epcore: error: ", "epcore readiness: error: ")) and error.count("\n") == 1
        assert message in error


def test_every_layer_is_reported() -> None:
    """Input and nodes, in order, each with both errors of every experiment."""
    network = build((8, 8, 4), lambda builder: builder.squeeze_excite("se", INPUT, reduced=1, activation="eswish"))
    report, _ = report_of(network, np.ones((1, 8, 8, 4)))
    names = [layer.name for layer in report.layers]
    assert names == [INPUT, "se/mean", "se/reduce", "se/hidden", "se/expand", "se/gate", "se"]
    assert all(isinstance(layer, LayerReport) and set(layer.own) == set(layer.total) for layer in report.layers)
    assert all(set(layer.own) == {FLOAT16, TREE_SUMS, CHAIN_SUMS, INT8} for layer in report.layers)
