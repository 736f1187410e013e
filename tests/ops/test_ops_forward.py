"""Reference operators against naive loops, values by hand, and PyTorch where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epcore.ops import OPS
from epcore.shapes import Window, nchw_to_nhwc, nhwc_to_nchw, output_size, same_padding, transposed_crop


def forward(op: str, *arrays: Any, **attributes: Any) -> np.ndarray:
    return OPS[op].forward(*arrays, **attributes)[0]


def naive_convolution(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """Seven loops over the definition; w (kh,kw,Cin,Cout)."""
    N, H, W, Cin = x.shape
    kh, kw, _, Cout = w.shape
    top, left = same_padding(H, kh, stride)[0], same_padding(W, kw, stride)[0]
    y = np.zeros((N, output_size(H, stride), output_size(W, stride), Cout))
    for n, i, j, o, u, v, c in product(range(N), *map(range, y.shape[1:]), range(kh), range(kw), range(Cin)):
        row, column = i * stride + u - top, j * stride + v - left
        if 0 <= row < H and 0 <= column < W:
            y[n, i, j, o] += x[n, row, column, c] * w[u, v, c, o]
    return y


class TestPadding:
    @pytest.mark.parametrize(
        ("size", "kernel", "stride", "padding"),
        [
            (224, 3, 2, (0, 1)),
            (112, 5, 2, (1, 2)),
            (127, 3, 2, (1, 1)),
            (127, 5, 2, (2, 2)),
            (7, 3, 1, (1, 1)),
            (5, 1, 1, (0, 0)),
            (1, 3, 2, (1, 1)),
            (2, 5, 2, (1, 2)),
            (4, 1, 2, (0, 0)),
        ],
    )
    def test_by_hand(self, size: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
        assert same_padding(size, kernel, stride) == padding

    @pytest.mark.parametrize(("H", "W"), [(1, 1), (2, 5), (6, 7)])
    @pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (2, 3), (5, 5)])
    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_window(self, H: int, W: int, kernel: tuple[int, int], stride: int, rng: np.random.Generator) -> None:
        x = rng.normal(size=(2, H, W, 3))
        window = Window(x.shape, kernel, stride)
        p, q = window.start
        assert (p, q) == (same_padding(H, kernel[0], stride)[0], same_padding(W, kernel[1], stride)[0])
        padded = window.pad(x, -7.0)
        assert padded.shape == window.padded
        assert np.array_equal(window.crop(padded), x)
        assert list(window.taps()) == [(u, v) for u in range(kernel[0]) for v in range(kernel[1])]
        for u, v in window.taps():
            tap = padded[window.tap(u, v)]
            assert tap.shape[1:3] == (output_size(H, stride), output_size(W, stride))
            for i, j in np.ndindex(tap.shape[1:3]):
                h, k = i * stride + u - p, j * stride + v - q
                right = x[:, h, k] if 0 <= h < H and 0 <= k < W else np.full((2, 3), -7.0)
                assert np.array_equal(tap[:, i, j], right)

    @pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (4, 4), (5, 3)])
    @pytest.mark.parametrize("stride", [1, 2, 3])
    def test_window_of_a_transposed_convolution(self, kernel: tuple[int, int], stride: int) -> None:
        window = Window((1, 4 * stride, 5 * stride, 3), kernel, stride)
        assert window.start == (transposed_crop(kernel[0], stride), transposed_crop(kernel[1], stride))
        full = [max((n - 1) * stride + k, n * stride) for n, k in zip((4, 5), kernel, strict=True)]
        assert window.padded == (1, *full, 3)

    def test_layouts_are_inverse(self, rng: np.random.Generator) -> None:
        x = rng.normal(size=(2, 3, 4, 5))
        assert nhwc_to_nchw(x).shape == (2, 5, 3, 4)
        assert np.array_equal(nchw_to_nhwc(nhwc_to_nchw(x)), x)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]),
    st.integers(0, 2**31),
)  # fmt: skip
def test_convolutions_against_loops(N: int, H: int, W: int, kernel: int, stride: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w, b = rng.normal(size=(N, H, W, 2)), rng.normal(size=(kernel, kernel, 2, 3)), rng.normal(size=3)
    assert np.allclose(forward("conv2d", x, w, b, stride=stride), naive_convolution(x, w, stride) + b, atol=1e-12)
    depthwise = w[..., :2].diagonal(axis1=2, axis2=3)  # (k,k,C): as a dense kernel it is diagonal
    dense = depthwise[..., None] * np.eye(2)
    y = forward("depthwise_conv2d", x, depthwise, stride=stride)
    assert np.allclose(y, naive_convolution(x, dense, stride), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 2, 3, 4, 5]), st.integers(0, 2**31))
def test_transposed_convolution_is_the_gradient_of_a_convolution(H: int, W: int, kernel: int, seed: int) -> None:
    """Keras defines it so: <conv(z), x> = <z, transposed(x)> for every z of twice the size."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2, H, W, 3)), rng.normal(size=(kernel, kernel, 2, 3))
    z = rng.normal(size=(2, 2 * H, 2 * W, 2))
    assert np.isclose((naive_convolution(z, w, 2) * x).sum(), (z * forward("conv_transpose2d", x, w)).sum(), rtol=1e-10)


def test_bilinear_upscaling_by_hand() -> None:
    """out[2i] = .25 x[i-1] + .75 x[i], out[2i+1] = .75 x[i] + .25 x[i+1], zeros beyond the border."""
    from epcore.ops.conv_transpose2d import bilinear_kernel

    x = np.array([4.0, 8.0]).reshape(1, 1, 2, 1)
    row = np.array([3.0, 5.0, 7.0, 6.0])
    assert np.allclose(forward("conv_transpose2d", x, bilinear_kernel(1))[0, :, :, 0], [0.75 * row, 0.75 * row])


class TestElementwise:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_sigmoid_never_overflows(self, dtype: type) -> None:
        y = forward("sigmoid", np.array([-1e4, -100, 0, 100, 1e4], dtype))
        assert y.dtype == dtype
        assert np.array_equal(y, np.array([0, np.exp(dtype(-100)), 0.5, 1, 1], dtype))

    def test_values_by_hand(self) -> None:
        x = np.array([-1.0, 0.0, 2.0, 7.0])
        assert np.allclose(forward("swish", x), x / (1 + np.exp(-x)))
        assert np.allclose(forward("eswish", x), 1.25 * x / (1 + np.exp(-x)))
        assert np.array_equal(forward("relu", x), [0, 0, 2, 7])
        assert np.array_equal(forward("relu", x, maximum=6.0), [0, 0, 2, 6])
        assert np.array_equal(forward("prelu", x.reshape(1, 1, 1, 4), np.full(4, 0.1)).ravel(), [-0.1, 0, 2, 7])


class TestPooling:
    def test_max_by_hand(self) -> None:
        x = np.arange(9.0).reshape(1, 3, 3, 1)
        assert np.array_equal(forward("max_pool", x)[0, :, :, 0], [[4, 5], [7, 8]])

    def test_max_padding_never_wins(self) -> None:
        assert np.array_equal(forward("max_pool", np.full((1, 3, 3, 1), -5.0)).ravel(), [-5] * 4)

    def test_max_ties_go_to_the_first(self) -> None:
        x = np.ones((1, 2, 2, 1))
        y, saved = OPS["max_pool"].forward(x)
        assert np.array_equal(OPS["max_pool"].backward(np.full_like(y, 3.0), saved)[0].ravel(), [3, 0, 0, 0])

    def test_max_passes_nan_on(self) -> None:
        x = np.array([1.0, np.nan, 2.0, 0.0]).reshape(1, 2, 2, 1)
        assert np.isnan(forward("max_pool", x)).all()

    def test_average_cuts_an_odd_rest(self) -> None:
        x = np.arange(15.0).reshape(1, 3, 5, 1)
        assert np.array_equal(forward("avg_pool", x).ravel(), [3, 5])

    def test_global_mean(self, rng: np.random.Generator) -> None:
        x = rng.normal(size=(2, 3, 4, 5))
        assert np.allclose(forward("global_mean", x)[:, 0, 0], x.mean((1, 2)))


def test_squeeze_excite_by_hand() -> None:
    """One channel, one hidden unit: m = 2, t = 2*3+1 = 7, gate = sigmoid(swish(7) * 0.5 - 1)."""
    x = np.array([1.0, 3.0]).reshape(1, 1, 2, 1)
    y = forward("squeeze_excite", x, np.full((1, 1, 1, 1), 3.0), np.ones(1), np.full((1, 1, 1, 1), 0.5), -np.ones(1))
    hidden = 7 / (1 + np.exp(-7))
    assert np.allclose(y.ravel(), np.array([1, 3]) / (1 + np.exp(-(hidden * 0.5 - 1))))


def test_mse_by_hand() -> None:
    prediction, target, mask = np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]), np.array([[1.0, 0.0]])
    assert forward("mse", prediction, target) == 2.5
    assert forward("mse", prediction, target, reduction="sum") == 5
    assert forward("mse", prediction, target, mask) == 0.5


@pytest.mark.parametrize(
    ("op", "arrays", "attributes", "message"),
    [
        ("conv2d", ((1, 4, 4, 3), (1, 1, 2, 5)), {}, r"conv2d: x \(1, 4, 4, 3\) and w \(1, 1, 2, 5\)"),
        ("conv2d", ((1, 4, 4, 2), (1, 1, 2, 5), (4,)), {}, r"b has shape \(4,\), expected \(5,\)"),
        ("depthwise_conv2d", ((1, 4, 4, 3), (3, 3, 2)), {}, "depthwise_conv2d"),
        ("conv_transpose2d", ((1, 4, 4, 3), (4, 4, 3, 2)), {}, "conv_transpose2d"),
        ("batch_norm", ((1, 2, 2, 3), (3,), (2,), (3,), (3,)), {}, r"beta has shape \(2,\), expected \(3,\)"),
        ("prelu", ((1, 2, 2, 3), (1,)), {}, "alpha"),
        ("add", ((1, 2), (2, 1)), {}, "a has shape"),
        ("multiply", ((1, 2), (1, 3)), {}, "do not broadcast"),
        ("concat", ((1, 2, 2, 3), (1, 3, 2, 3)), {}, "input 1"),
        ("concat", (), {}, "nothing"),
        ("avg_pool", ((1, 1, 4, 3),), {}, "smaller than the 2x2 window"),
        ("max_pool", ((1, 4, 4, 3),), {"size": 16}, "size is 16"),
        ("drop_connect", ((2, 2, 2, 3), (2, 1, 1, 1)), {"rate": 1.0}, "rate is 1.0"),
        ("drop_connect", ((2, 2, 2, 3), (2,)), {"rate": 0.5}, "mask has shape"),
        ("squeeze_excite", ((1, 2, 2, 3), (1, 1, 3, 2), (2,), (1, 1, 2, 3), (3,)), {"activation": "tanh"}, "'tanh'"),
        ("squeeze_excite", ((1, 2, 2, 3), (1, 1, 3, 2), (3,), (1, 1, 2, 3), (3,)), {}, "b_reduce"),
        ("mse", ((1, 2), (2, 1)), {}, "prediction has shape"),
        ("mse", ((1, 2), (1, 2)), {"reduction": "median"}, "'median'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(op: str, arrays: Any, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forward(op, *map(np.zeros, arrays), **attributes)


class TestAgainstPyTorch:
    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        self.torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def tensor(self, x: np.ndarray) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(x))

    def nchw(self, x: np.ndarray) -> Any:
        return self.tensor(nhwc_to_nchw(x))

    def test_batch_norm(self, rng: np.random.Generator) -> None:
        x, C = rng.normal(3, 2, (4, 5, 6, 3)), 3
        gamma, beta, mean = rng.normal(size=(3, C))
        variance = rng.uniform(0.5, 2, C)
        for training in (True, False):
            running = self.tensor(mean.copy()), self.tensor(variance.copy())
            expected = self.torch.nn.functional.batch_norm(
                self.nchw(x), *running, self.tensor(gamma), self.tensor(beta), training, eps=1e-3
            )
            y = forward("batch_norm", x, gamma, beta, mean, variance, training=training)
            assert np.allclose(nhwc_to_nchw(y), expected.numpy(), atol=1e-12)

    @pytest.mark.parametrize("size", [(4, 4), (5, 3)])
    def test_transposed_convolution(self, size: tuple[int, int], rng: np.random.Generator) -> None:
        x, w, b = rng.normal(size=(2, *size, 3)), rng.normal(size=(4, 4, 2, 3)), rng.normal(size=2)
        expected = self.torch.nn.functional.conv_transpose2d(
            self.nchw(x), self.tensor(w.transpose(3, 2, 0, 1)), self.tensor(b), 2, 1
        )
        assert np.allclose(nhwc_to_nchw(forward("conv_transpose2d", x, w, b)), expected.numpy(), atol=1e-12)

    @pytest.mark.parametrize(("op", "name"), [("swish", "silu"), ("sigmoid", "sigmoid"), ("relu", "relu")])
    def test_activations(self, op: str, name: str, rng: np.random.Generator) -> None:
        x = rng.normal(0, 10, 1000)
        function: Callable[[Any], Any] = getattr(self.torch.nn.functional, name)
        assert np.allclose(forward(op, x), function(self.tensor(x)).numpy(), rtol=1e-13, atol=0)
