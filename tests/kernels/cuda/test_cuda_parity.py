"""Every CUDA kernel, through its launcher, against the float64 reference operators: forward and backward, float and double.

Without a GPU the kernels run on the processor (tests/cuda_on_host), with their threads in three orders; with one, the `gpu`
mark runs the same tests there. The results have to be the same bits in every order: no kernel may depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import pytest
from cuda_on_host.devices import DEVICES, HOST_ORDERS, Device, device
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import gradient_flows, output_flow

from epcore.kernels.cuda import bilinear, conv2d, depthwise_conv2d, targets
from epcore.kernels.cuda.launch import activation_code
from epcore.kernels.cuda.sgd import SgdMomentum
from epcore.ops import OPS
from epcore.ops.conv_transpose2d import bilinear_kernel
from epcore.pose import encode as reference_targets
from epcore.pose.skeleton import LIMBS

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One call. shapes: of the inputs (None for one left out); length: of the longest sum behind an output element."""

    op: str
    shapes: tuple[Shape | None, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    length: int = 1
    kinds: str = ""  # a letter an input: n normal (default), p positive, m mask of 0 and 1, i small integers
    crowded: bool = False  # take the kernel variants for large arrays, whatever the size

    def __str__(self) -> str:
        shapes = " ".join("x".join(map(str, shape)) if shape is not None else "-" for shape in self.shapes)
        crowded = ["crowded"] if self.crowded else []
        return " ".join([self.op, shapes, *(f"{key}={value}" for key, value in self.attributes.items()), *crowded])

    def inputs(self, rng: np.random.Generator, dtype: str) -> list[np.ndarray | None]:
        draws = {
            "n": lambda shape: rng.normal(size=shape),
            "p": lambda shape: rng.uniform(0.5, 2, size=shape),
            "m": lambda shape: rng.integers(0, 2, size=shape),
            "i": lambda shape: rng.integers(-4, 5, size=shape),
        }
        kinds = self.kinds.ljust(len(self.shapes), "n")
        return [None if s is None else np.asarray(draws[k](s), dtype) for s, k in zip(self.shapes, kinds, strict=True)]

    @property
    def exact(self) -> bool:
        return set(self.kinds) == {"i"}

    @property
    def factor(self) -> float:
        """Allowed error in units of the dtype's epsilon and the largest reference value; sums of small integers are exact."""
        if self.exact:
            return 0
        return 8 if self.length == 1 else 2 * self.length**0.5


def _convolutions() -> Iterator[Case]:
    for x, w, stride in [
        ((1, 7, 5, 8), (1, 1, 8, 12), 1),  # one product, vectors
        ((2, 5, 3, 6), (1, 1, 6, 5), 1),  # no multiple of four
        ((2, 9, 9, 20), (1, 1, 20, 40), 1),
        ((2, 9, 9, 36), (1, 1, 36, 76), 1),  # more than one tile of any kind along every axis
        ((2, 5, 7, 4), (1, 1, 4, 8), 2),
        ((1, 11, 9, 3), (3, 3, 3, 8), 2),  # the stem
        ((2, 8, 6, 3), (3, 3, 3, 5), 2),
        ((1, 6, 7, 8), (3, 3, 8, 4), 1),
        ((1, 13, 11, 4), (3, 3, 4, 68), 2),
        ((1, 1, 1, 4), (3, 3, 4, 4), 2),
        ((1, 4, 9, 2), (5, 3, 2, 3), 3),
    ]:
        y = prod(OPS["conv2d"].output_shape(x, w, stride=stride)[:3])
        length = max(prod(w[:3]), prod((*w[:2], w[3])), y)
        yield Case("conv2d", (x, w, (w[3],)), {"stride": stride}, length)
        if x[1] < 10:
            yield Case("conv2d", (x, w, None), {"stride": stride}, length)
    for x, w, stride in [
        ((1, 5, 4, 16), (4, 4, 16, 16), 2),
        ((2, 3, 5, 3), (4, 4, 5, 3), 2),
        ((1, 4, 3, 4), (3, 3, 8, 4), 2),
        ((1, 3, 3, 4), (2, 2, 4, 4), 3),  # the kernel is smaller than the stride: gaps
        ((1, 5, 5, 4), (3, 3, 4, 4), 1),
    ]:
        length = max(prod(w[:2]) * max(w[2:]), prod(x[:3]) * stride**2)
        yield Case("conv_transpose2d", (x, w, (w[2],)), {"stride": stride}, length)
        yield Case("conv_transpose2d", (x, w, None), {"stride": stride}, length)


def _depthwise() -> Iterator[Case]:
    for kernel in (3, 5):
        for stride in (1, 2):
            for x in [(1, 9, 11, 8), (2, 7, 6, 5), (1, 10, 8, 52), (3, 8, 13, 4), (1, 1, 2, 8), (1, 6, 5, 68)]:
                length = max(kernel**2, prod(x[:3]))
                yield Case("depthwise_conv2d", (x, (kernel, kernel, x[3])), {"stride": stride}, length)


def _others() -> Iterator[Case]:
    for x in [(1, 5, 7, 8), (2, 3, 5, 3), (3, 9, 4, 20), (1, 33, 17, 12)]:
        C, pixels, rows = x[3], x[1] * x[2], prod(x[:3])
        for op in ("swish", "eswish", "sigmoid", "relu"):
            yield Case(op, (x,))
        yield Case("eswish", (x,), {"beta": 1.5})
        yield Case("relu", (x,), {"maximum": 0.5})
        yield Case("prelu", (x, (C,)), length=rows)
        yield Case("add", (x, x))
        yield Case("drop_connect", (x, (x[0], 1, 1, 1)), {"rate": 0.25}, kinds="nm")
        yield Case("global_mean", (x,), length=pixels)
        for training in (False, True):
            yield Case("batch_norm", (x, (C,), (C,), (C,), (C,)), {"training": training}, rows, "nnnnp")
        for activation in ("swish", "eswish", "relu"):
            R = max(2, C // 4)  # a lone reduced unit is a sum that may cancel: nothing to measure its error by
            shapes = x, (1, 1, C, R), (R,), (1, 1, R, C), (C,)
            yield Case("squeeze_excite", shapes, {"activation": activation}, pixels * C)
        yield Case("max_pool", (x,))
        yield Case("max_pool", (x,), {"size": 3, "stride": 2})
        yield Case("max_pool", (x,), {"size": 3, "stride": 1})
        yield Case("max_pool", (x,), {"size": 2, "stride": 3})
        yield Case("avg_pool", (x,), {"size": 2}, 4)
        yield Case("avg_pool", (x,), {"size": 3}, 9)
        yield Case("multiply", (x, x))
        yield Case("multiply", (x, (x[0], 1, 1, C)), length=pixels)
        yield Case("multiply", ((C,), x), length=rows)
        yield Case("multiply", ((x[0], x[1], 1, 1), (1, 1, x[2], C)), length=rows * C)
        yield Case("concat", (x, (*x[:3], 4)))
        yield Case("concat", tuple((*x[:3], c) for c in (8, 4, 12, 4, 8, 4)))
        yield Case("concat", tuple((*x[:3], c) for c in (3, 1, 2)))
        for reduction in ("mean", "sum"):
            for mask in (None, x, (x[0], 1, 1, C), (1, x[1], 1, 1)):
                yield Case("mse", (x, x, mask), {"reduction": reduction}, prod(x), "nnm")
    yield Case("sigmoid", ((7,),))
    yield Case("squeeze_excite", ((1, 32, 40, 8), (1, 1, 8, 2), (2,), (1, 1, 2, 8), (8,)), {}, 32 * 40 * 8)


def _cases() -> Iterator[Case]:
    for case in (*_convolutions(), *_depthwise()):
        yield case
        if all(shape is None or shape[-1] % 4 == 0 for shape in case.shapes):
            yield replace(case, crowded=True)
    yield from _others()


CASES = list(_cases())


@pytest.fixture(params=DEVICES)
def place(request: pytest.FixtureRequest) -> Iterator[Device]:
    with device(request.param) as found:
        yield found


def run(case: Case, arrays: list[Any], dy: Any, module: Any) -> tuple[list[Any], list[Any]]:
    """(y and what was saved, gradients) of `module`'s forward and backward."""
    y, saved = module.forward(*arrays, **case.attributes)
    gradients = module.backward(dy, saved, **case.attributes)
    return [y, *(value for value in saved if hasattr(value, "dtype"))], list(gradients)


def compare(case: Case, dtype: str, place: Device, seed: int = 0) -> list[np.ndarray | None]:
    """Runs the case on the device and against the reference in double; what the kernels gave."""
    rng = np.random.default_rng(seed)
    arrays = case.inputs(rng, dtype)
    wide = [None if a is None else a.astype(np.float64) for a in arrays]
    y, saved = OPS[case.op].forward(*wide, **case.attributes)
    dy = np.asarray(rng.integers(-4, 5, y.shape) if case.exact else rng.normal(size=y.shape), dtype)
    expected = run(case, wide, dy.astype(np.float64), OPS[case.op])
    kernels = import_module(f"epcore.kernels.cuda.{case.op}")
    before = [None if a is None else a.copy() for a in arrays]
    with pytest.MonkeyPatch.context() as patch:
        if case.crowded:
            patch.setattr(conv2d, "BUSY", 0)
            patch.setattr(depthwise_conv2d, "BUSY", 0)
        outputs, gradients = place.get(run(case, place.put(arrays), place.put(dy), kernels))
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)  # inputs are left alone
    # Where sums happen to be small, errors are those of what sums of such terms are. What is saved has no formula of its own.
    squares = [output_flow(case.op, wide, saved, y, case.attributes, 2)] + [np.zeros(())] * (len(outputs) - 1)
    squares += gradient_flows(case.op, saved, dy.astype(np.float64), tuple(expected[1]), case.attributes, 2)
    for name, got, want, square in zip(
        ["forward"] * len(outputs) + ["backward"] * len(gradients),
        [*outputs, *gradients],
        [*expected[0], *expected[1]],
        squares,
        strict=True,
    ):
        if want is None:
            assert got is None
            continue
        assert got.shape == want.shape, name
        if got.dtype == np.uint8:
            np.testing.assert_array_equal(got, want)
            continue
        assert got.dtype == dtype
        allowed = case.factor * np.finfo(dtype).eps * max(np.abs(want).max(initial=0), np.sqrt(square.max()))
        assert np.abs(got - want).max() <= allowed, f"{name} {got.shape}: off by {np.abs(got - want).max()}, allowed {allowed}"
    return [*outputs, *gradients]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernel_equals_reference(case: Case, dtype: str, place: Device) -> None:
    compare(case, dtype, place)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_thread_order_does_not_change_a_bit(case: Case) -> None:
    results = []
    for order in HOST_ORDERS:
        with device(order) as place:
            results.append(compare(case, "float32", place))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


class TestProperties:
    """Shapes nobody thought of, in small integers: every sum is exact, so the kernels have to give the reference's bits."""

    @settings(max_examples=40, deadline=None)
    @given(
        st.tuples(*(st.integers(1, n) for n in (2, 13, 13, 9))), st.sampled_from([3, 5]), st.sampled_from([1, 2]), st.booleans()
    )
    def test_depthwise(self, x: Shape, kernel: int, stride: int, crowded: bool) -> None:
        case = Case("depthwise_conv2d", (x, (kernel, kernel, x[3])), {"stride": stride}, kinds="ii", crowded=crowded)
        with device("shuffled") as place:
            compare(case, "float32", place)
            compare(case, "float64", place)

    @settings(max_examples=60, deadline=None)
    @given(
        st.tuples(*(st.integers(1, n) for n in (2, 9, 9, 9))),
        st.tuples(*(st.integers(1, n) for n in (4, 4, 9))),
        st.sampled_from([1, 2, 3]),
        st.sampled_from(["conv2d", "conv_transpose2d"]),
        st.booleans(),
    )
    def test_dense(self, x: Shape, rest: Shape, stride: int, op: str, crowded: bool) -> None:
        kh, kw, C = rest
        w = (kh, kw, x[3], C) if op == "conv2d" else (kh, kw, C, x[3])
        case = Case(op, (x, w, (C,)), {"stride": stride}, kinds="iii", crowded=crowded)
        with device("shuffled") as place:
            compare(case, "float32", place)
            compare(case, "float64", place)

    @settings(max_examples=40, deadline=None)
    @given(st.tuples(*(st.integers(1, n) for n in (2, 9, 9, 5))), st.integers(1, 4), st.integers(1, 4))
    def test_max_pool(self, x: Shape, size: int, stride: int) -> None:
        with device("shuffled") as place:
            compare(Case("max_pool", (x,), {"size": size, "stride": stride}), "float32", place)


def test_max_pool_ties_and_nan(place: Device) -> None:
    """The first of equals wins; NaN goes through, as in the reference."""
    x = np.zeros((1, 4, 4, 4), np.float32)
    x[0, 2, 3, 1] = np.nan
    expected, (argmax, _) = OPS["max_pool"].forward(x)
    y, (winners, _) = place.get(import_module("epcore.kernels.cuda.max_pool").forward(place.put(x)))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(winners, argmax)


def test_batch_norm_of_a_large_mean(place: Device) -> None:
    """A variance of one under a mean of a thousand: sums of squares in float would lose it."""
    x = np.random.default_rng(0).normal(1000, 1, size=(2, 9, 7, 8)).astype(np.float32)
    one = np.ones(8, np.float32)
    _, (_, _, mean, variance) = import_module("epcore.kernels.cuda.batch_norm").forward(
        *(place.put(a) for a in (x, one, one, one, one)), training=True
    )
    np.testing.assert_allclose(place.get(variance), x.astype(np.float64).var(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(place.get(mean), x.astype(np.float64).mean(axis=(0, 1, 2)), rtol=1e-7)


@pytest.mark.parametrize("op", ["swish", "eswish", "sigmoid"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_far_out(op: str, dtype: str, place: Device) -> None:
    x = np.array([-1e4, -700, -90, -20, -0.0, 0, 20, 90, 700, 1e4], dtype)
    kernels = import_module(f"epcore.kernels.cuda.{op}")
    y, saved = kernels.forward(place.put(x))
    (dx,) = kernels.backward(place.put(np.ones_like(x)), saved)
    reference, reference_saved = OPS[op].forward(x.astype(np.float64))
    (gradient,) = OPS[op].backward(np.ones(x.shape), reference_saved)
    eps, underflow = float(np.finfo(dtype).eps), 1000 * float(np.finfo(dtype).tiny)  # exp(-x) overflows first
    np.testing.assert_allclose(place.get(y), reference, rtol=8 * eps, atol=underflow)
    np.testing.assert_allclose(place.get(dx), gradient, rtol=0, atol=8 * eps * np.abs(gradient).max())


@pytest.mark.parametrize("shape", [(1, 5, 4, 8), (2, 3, 7, 3), (1, 1, 1, 16)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bilinear_is_the_transposed_convolution(shape: Shape, dtype: str, place: Device) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(dtype)
    y, saved = OPS["conv_transpose2d"].forward(x.astype(np.float64), bilinear_kernel(shape[3]), None)
    dy = rng.normal(size=y.shape).astype(dtype)
    dx, _, _ = OPS["conv_transpose2d"].backward(dy.astype(np.float64), saved)
    allowed = 2 * 4 * np.finfo(dtype).eps  # 16 terms
    np.testing.assert_allclose(place.get(bilinear.forward(place.put(x))), y, rtol=0, atol=allowed * np.abs(y).max())
    np.testing.assert_allclose(place.get(bilinear.backward(place.put(dy))), dx, rtol=0, atol=allowed * np.abs(dx).max())


@pytest.mark.parametrize("activation", ["swish", "eswish", "sigmoid", "relu"])
@pytest.mark.parametrize("channels", [(8, 12), (6, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fused_convolutions_are_their_parts(activation: str, channels: tuple[int, int], dtype: str, place: Device) -> None:
    """Gate, product, bias, activation and residual in one kernel against the five steps in double."""
    Cin, Cout = channels
    shapes = (2, 5, 3, Cin), (1, 1, Cin, Cout), (Cout,), (2, Cin), (2, 5, 3, Cout), (3, 3, Cin), (Cin,), (3, 3, Cin, Cout)
    rng = np.random.default_rng(0)
    x, w, b, gate, residual, wd, bd, w3 = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    attributes = {"maximum": 6.0} if activation == "relu" else {}
    code = activation_code(activation, **attributes)
    act = lambda y: OPS[activation].forward(y, **attributes)[0]  # noqa: E731
    wide = x.astype(np.float64)
    expected = [
        act((wide * gate[:, None, None]) @ w[0, 0] + b) + residual,
        act(OPS["conv2d"].forward(wide, w3.astype(np.float64), b.astype(np.float64), stride=2)[0]),
        act(OPS["depthwise_conv2d"].forward(wide, wd.astype(np.float64))[0] + bd),
    ]
    x, w, b, gate, residual, wd, bd, w3 = place.put([x, w, b, gate, residual, wd, bd, w3])
    got = [
        conv2d.fused(x, w, b, activation=code, gate=gate, residual=residual),
        conv2d.fused(x, w3, b, stride=2, activation=code),
        depthwise_conv2d.fused(x, wd, bd, activation=code),
    ]
    for y, want in zip(place.get(got), expected, strict=True):
        np.testing.assert_allclose(y, want, rtol=0, atol=2 * (9 * Cin) ** 0.5 * np.finfo(dtype).eps * np.abs(want).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("persons", [1, 3])
def test_targets(persons: int, dtype: str, place: Device) -> None:
    rng = np.random.default_rng(persons)
    points, known = rng.uniform(-3, 31, size=(2, persons, 16, 2)), rng.random((2, persons, 16)) < 0.8
    maps = [reference_targets.confidence_maps(p, k, 28, 2.5) for p, k in zip(points, known, strict=True)]
    fields = [reference_targets.affinity_fields(p, k, 28, 3.0) for p, k in zip(points, known, strict=True)]
    limbs = np.array(LIMBS, np.int32)
    p, k, limbs = place.put([points, known, limbs])
    eps = float(np.finfo(np.float32).eps)  # of the reference
    got = targets.confidence_maps(p, k, 28, 2.5, dtype), targets.affinity_fields(p, k, limbs, 28, 3.0, dtype)
    assert np.abs(np.stack(fields)).max() > 0.9
    assert [array.dtype.name for array in got] == [dtype, dtype]
    np.testing.assert_allclose(place.get(got[0]), np.stack(maps), rtol=0, atol=8 * eps)
    np.testing.assert_allclose(place.get(got[1]), np.stack(fields), rtol=0, atol=8 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd_updates_all_parameters(dtype: str, place: Device) -> None:
    rng = np.random.default_rng(0)
    shapes: list[Shape] = [(3, 3, 8), (5,), (1, 1, 70, 90), (1,)]
    parameters, velocities, *gradients = ([rng.normal(size=shape).astype(dtype) for shape in shapes] for _ in range(4))
    on_device = place.put(parameters), place.put(velocities)
    if place.name != "gpu":
        on_device = [a.copy() for a in parameters], [a.copy() for a in velocities]
    optimizer = SgdMomentum(*on_device)
    for gradient in gradients:
        optimizer.step(place.put(gradient), rate=0.1, momentum=0.9)
        velocities = [0.9 * v.astype(np.float64) - 0.1 * g for v, g in zip(velocities, gradient, strict=True)]
        parameters = [p + v for p, v in zip(parameters, velocities, strict=True)]
    for got, want in zip(place.get(on_device[0]) + place.get(on_device[1]), parameters + velocities, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(want).max())
