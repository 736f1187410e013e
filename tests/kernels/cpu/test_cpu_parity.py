"""Every CPU kernel in float32 against the float64 reference, forward and backward, over random shapes.

Tolerance: 8 eps where every element is computed on its own, 2 eps sqrt(K) where K terms are summed, both added up where an
operator does both; of the largest reference value, or, where sums happen to be small, of what sums of such terms are
(`tolerances.output_flow`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import gradient_flows, output_flow

import epcore
from epcore.doctor.examples import EXAMPLES, normal
from epcore.kernels.cpu import launch
from epcore.op import Op
from epcore.ops import OPS

EPS = float(np.finfo(np.float32).eps)
Arrays = list[np.ndarray | None]
ELEMENTWISE = 0  # summed terms of an output that sums nothing

sizes = st.integers(1, 19)
channels = st.one_of(st.integers(1, 70), st.sampled_from((16, 24, 40, 96)))
images = st.tuples(st.sampled_from((1, 2, 5)), sizes, sizes, channels)
seeds = st.integers(0, 2**32 - 1)
cases = settings(max_examples=40, deadline=None, derandomize=True)


def kernel(op: str) -> Any:
    return import_module(f"epcore.kernels.cpu.{op}")


def double(array: Any) -> Any:
    return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype == np.float32 else array


def gradient(y: np.ndarray, seed: int) -> np.ndarray:
    return np.asarray(normal(seed + 1, *y.shape), np.float32)


def compare(
    op: str,
    arrays: Arrays,
    terms: list[int],
    scales: dict[int, float] | None = None,
    saved_scale: float = 0.0,
    **attributes: Any,
) -> None:
    """terms: summed terms of y and of every gradient. scales, saved_scale: what else an error is relative to, by position in
    terms, and for what is saved."""
    reference: Op = OPS[op]
    y, saved = kernel(op).forward(*arrays, **attributes)
    expected_y, expected_saved = reference.forward(*map(double, arrays), **attributes)
    dy = gradient(expected_y, 7)
    results = (y, *kernel(op).backward(dy, saved, **attributes))
    # Backward is judged for what it does with what was saved: sigmoid's 1 - y is only as good as y.
    kept = tuple(map(double, saved))
    gradients = reference.backward(double(dy), kept, **attributes)
    expected = (expected_y, *gradients)
    squares = [output_flow(op, list(map(double, arrays)), expected_saved, expected_y, attributes, 2)]
    squares += gradient_flows(op, kept, double(dy), gradients, attributes, 2)
    assert len(results) == len(expected) == len(terms)
    for i, (got, want, summed) in enumerate(zip(results, expected, terms, strict=True)):
        assert (got is None) == (want is None)
        if want is not None:
            scale = max((scales or {}).get(i, 0.0), float(np.sqrt(squares[i].max())))
            close(got, want, summed, scale, f"{op}: output {i}")
    for got, want in zip(saved, expected_saved, strict=True):
        if isinstance(want, np.ndarray) and want.dtype == np.float64:
            close(got, want, max(16, *terms), max([saved_scale, *(scales or {}).values()]), f"{op}: saved")
        elif not isinstance(want, np.ndarray):
            assert got == want


def close(got: np.ndarray, want: np.ndarray, summed: int, scale: float, what: str) -> None:
    assert got.dtype == np.float32
    assert got.shape == want.shape
    assert got.flags.c_contiguous
    factor = 2 * np.sqrt(summed) + (8 if summed in (ELEMENTWISE, 1) else 0)
    bound = factor * EPS * max(np.abs(want).max(), scale)
    assert np.abs(got - want).max() <= bound, f"{what} of shape {want.shape}"


@cases
@given(images, st.sampled_from((3, 5)), st.sampled_from((1, 2)), seeds)
def test_depthwise_conv2d(shape: tuple[int, ...], size: int, stride: int, seed: int) -> None:
    N, H, W, C = shape
    terms = [size * size, size * size, N * H * W]
    compare("depthwise_conv2d", [normal(seed, *shape), normal(seed, size, size, C)], terms, stride=stride)


@cases
@given(images, st.integers(1, 70), st.sampled_from((1, 1, 3, 5)), st.sampled_from((1, 2)), st.booleans(), seeds)
def test_conv2d(shape: tuple[int, ...], outputs: int, size: int, stride: int, bias: bool, seed: int) -> None:
    N, H, W, C = shape
    arrays = [normal(seed, *shape), normal(seed, size, size, C, outputs), normal(seed, outputs) if bias else None]
    compare("conv2d", arrays, [size * size * C, size * size * outputs, N * H * W, N * H * W], stride=stride)


@cases
@given(images, st.integers(1, 40), st.sampled_from(((4, 2), (4, 2), (3, 2), (2, 2), (3, 1), (5, 3))), st.booleans(), seeds)
def test_conv_transpose2d(shape: tuple[int, ...], outputs: int, geometry: tuple[int, int], bias: bool, seed: int) -> None:
    N, H, W, C = shape
    size, stride = geometry
    arrays = [normal(seed, *shape), normal(seed, size, size, outputs, C), normal(seed, outputs) if bias else None]
    terms = [size * size * C, size * size * outputs, N * H * W, N * H * W * stride * stride]
    compare("conv_transpose2d", arrays, terms, stride=stride)


@cases
@given(images, st.booleans(), seeds)
def test_conv_transpose2d_with_diagonal_weights(shape: tuple[int, ...], bias: bool, seed: int) -> None:
    N, H, W, C = shape
    w = normal(seed, 4, 4, C)[..., None] * np.eye(C, dtype=np.float32)
    arrays = [normal(seed, *shape), w, normal(seed, C) if bias else None]
    compare("conv_transpose2d", arrays, [16, 16, N * H * W, 4 * N * H * W])


@cases
@given(images, st.booleans(), st.sampled_from((0.0, 3.0, 100.0)), seeds)
def test_batch_norm(shape: tuple[int, ...], training: bool, offset: float, seed: int) -> None:
    """dx is a difference of terms as large as gamma * dy / deviation (with one pixel it is 0), and y one of x - mean."""
    C, M = shape[3], int(np.prod(shape[:3]))
    x = normal(seed, *shape) + np.float32(offset)
    gamma, beta, mean = normal(seed, C), normal(seed + 1, C), normal(seed + 2, C)
    variance = np.square(normal(seed + 3, C)) + np.float32(0.1)
    deviation = np.sqrt((double(x).var(axis=(0, 1, 2)) if training else double(variance)) + 1e-3)
    slope = float(np.abs(gamma / deviation).max())
    scales = {0: slope * float(np.abs(x).max()), 1: slope * float(np.abs(gradient(x, 7)).max())}
    scales[2] = scales[1] * float(np.abs(x).max())  # products of dy and x - mean, where x is as exact as its size allows
    terms = [M, M, M, M, 0, 0] if training else [ELEMENTWISE, ELEMENTWISE, M, M, 0, 0]
    compare("batch_norm", [x, gamma, beta, mean, variance], terms, scales, training=training)


@cases
@given(images, st.integers(1, 12), st.sampled_from(("swish", "eswish")), seeds)
def test_squeeze_excite(shape: tuple[int, ...], hidden: int, activation: str, seed: int) -> None:
    _, H, W, C = shape
    arrays = [
        normal(seed, *shape),
        normal(seed, 1, 1, C, hidden),
        normal(seed, hidden),
        normal(seed, 1, 1, hidden, C),
        normal(seed + 1, C),
    ]
    longest = max(16, H * W + C + hidden)  # 16: the elementwise steps, 2 * sqrt(16) = 8
    # A mean of normal numbers is of the size of 1 / sqrt(H W).
    compare("squeeze_excite", list(arrays), [longest] * 6, saved_scale=(H * W) ** -0.5, activation=activation)


@cases
@given(images, st.sampled_from(("swish", "eswish", "sigmoid", "relu", "relu6", "add", "multiply", "concat")), seeds)
def test_elementwise(shape: tuple[int, ...], op: str, seed: int) -> None:
    N, H, W, C = shape
    x = normal(seed, *shape) * np.float32(4)
    terms = [ELEMENTWISE] * 3
    if op == "relu6":
        compare("relu", [x], terms[:2], maximum=6.0)
    elif op == "add":
        compare(op, [x, normal(seed + 1, *shape)], terms)
    elif op == "multiply":
        compare(op, [x, normal(seed + 1, N, 1, 1, C)], [ELEMENTWISE, ELEMENTWISE, max(16, H * W)])
    elif op == "concat":
        compare(op, [x, normal(seed, N, H, W, 5), normal(seed, N, H, W, 24)], [*terms, ELEMENTWISE])
    else:
        compare(op, [x], terms[:2])


@cases
@given(images, seeds)
def test_prelu(shape: tuple[int, ...], seed: int) -> None:
    x, alpha = normal(seed, *shape), normal(seed, shape[3])
    compare("prelu", [x, alpha], [ELEMENTWISE, ELEMENTWISE, max(16, int(np.prod(shape[:3])))])


@cases
@given(images, st.sampled_from(((2, 2), (3, 2), (2, 1))), st.booleans(), seeds)
def test_max_pool(shape: tuple[int, ...], geometry: tuple[int, int], ties: bool, seed: int) -> None:
    x = normal(seed, *shape)
    x = np.round(x) if ties else x
    size, stride = geometry
    compare("max_pool", [x], [ELEMENTWISE, size * size], size=size, stride=stride)
    _, (argmax, _) = kernel("max_pool").forward(x, size=size, stride=stride)
    _, (expected, _) = OPS["max_pool"].forward(x, size=size, stride=stride)
    np.testing.assert_array_equal(argmax, expected)


@cases
@given(images, seeds)
def test_means(shape: tuple[int, ...], seed: int) -> None:
    x = normal(seed, *shape)
    compare("global_mean", [x], [max(16, shape[1] * shape[2]), ELEMENTWISE])
    if min(shape[1:3]) > 1:
        compare("avg_pool", [x], [16, ELEMENTWISE])


@cases
@given(images, st.booleans(), st.sampled_from(("mean", "sum")), seeds)
def test_training_operators(shape: tuple[int, ...], masked: bool, reduction: str, seed: int) -> None:
    x = normal(seed, *shape)
    keep = (normal(seed + 1, shape[0], 1, 1, 1) > 0).astype(np.float32)
    compare("drop_connect", [x, keep], [ELEMENTWISE] * 3, rate=0.2)
    mask = (normal(seed + 2, shape[0], 1, 1, shape[3]) > 0).astype(np.float32) if masked else None
    compare("mse", [x, normal(seed + 3, *shape), mask], [max(16, x.size), ELEMENTWISE, 0, 0], reduction=reduction)


def test_nan_is_not_hidden() -> None:
    x = np.array([np.nan, 1, -1], np.float32).reshape(1, 1, 1, 3)
    for op in ("swish", "eswish", "sigmoid", "relu", "max_pool"):
        y, _ = kernel(op).forward(x)
        assert np.isnan(y[0, 0, 0, 0]), op
        assert np.isfinite(y[0, 0, 0, 1:]).all(), op


def test_every_operator_has_an_example() -> None:
    assert EXAMPLES.keys() == OPS.keys()


@pytest.mark.parametrize("op", EXAMPLES)
def test_same_bits_for_any_number_of_threads(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without Numba's threads, as in a process that was forked from one that has them."""
    make, attributes = EXAMPLES[op]

    def run(threads: int) -> list[bytes]:
        epcore.set_threads(threads)
        y, saved = kernel(op).forward(*make(), **attributes)
        gradients = kernel(op).backward(gradient(y, 7), saved, **attributes)
        return [array.tobytes() for array in (y, *gradients) if array is not None]

    try:
        once, again = run(1), run(1)
        most = run(numba.config.NUMBA_NUM_THREADS)
        monkeypatch.setattr(launch, "_alone", True)
        monkeypatch.setattr(launch, "_prepare_thread", None)  # what comes before any launch on Numba's threads
        alone = run(1)
    finally:
        epcore.set_threads(None)
    assert once == again
    assert once == most
    assert once == alone


@pytest.mark.parametrize("op", EXAMPLES)
def test_refusals(op: str) -> None:
    make, attributes = EXAMPLES[op]
    name = {"add": "a", "multiply": "a", "concat": "input 0", "mse": "prediction"}.get(op, "x")

    def forward(first: Any) -> None:
        kernel(op).forward(first, *make()[1:], **attributes)

    x = make()[0]
    assert x is not None
    with pytest.raises(TypeError, match=f"{op}: {name} is float64"):
        forward(x.astype(np.float64))
    with pytest.raises(TypeError, match=f"{op}: {name} is a list"):
        forward(x.tolist())
    with pytest.raises(ValueError, match=rf"{op}: {name} has shape \(0, 37, 29, 45\)"):
        forward(x[:0])
    with pytest.raises(ValueError, match=f"{op}: {name} is not C-contiguous"):
        forward(x[:, :, ::2])
    y, saved = kernel(op).forward(*make(), **attributes)
    with pytest.raises(TypeError, match=f"{op}: dy is float64"):
        kernel(op).backward(y.astype(np.float64), saved, **attributes)


@pytest.mark.parametrize("op", [op for op in EXAMPLES if op not in ("add", "mse", "drop_connect")])
def test_a_gradient_of_the_wrong_shape_is_refused(op: str) -> None:
    make, attributes = EXAMPLES[op]
    y, saved = kernel(op).forward(*make(), **attributes)
    with pytest.raises(ValueError, match=f"{op}: dy has shape"):
        kernel(op).backward(np.ones((*y.shape[:-1], y.shape[-1] + 1), np.float32), saved, **attributes)


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d", "conv_transpose2d"])
def test_only_the_wanted_gradients(op: str) -> None:
    make, attributes = EXAMPLES[op]
    y, saved = kernel(op).forward(*make(), **attributes)
    every = kernel(op).backward(gradient(y, 7), saved, **attributes)
    for wanted in range(len(every)):
        needs = tuple(i == wanted for i in range(len(every)))
        some = kernel(op).backward(gradient(y, 7), saved, needs=needs, **attributes)
        for i, (got, full) in enumerate(zip(some, every, strict=True)):
            assert (got is not None) == (i == wanted)
            if got is not None:
                np.testing.assert_array_equal(got, full)
