"""What ports get wrong in single operators: each entry computes what the mistake gives, to be compared with the port.

A mistake is tried in every layer of its operator that lies between the last layer that agrees and the first that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np

from epcore.ops import OPS
from epcore.ops.batch_norm import EPSILON
from epcore.ops.conv_transpose2d import bilinear_kernel
from epcore.port.setting import Forward
from epcore.shapes import Shape, same_padding

ORDERS_OF_CONCAT = 24  # four inputs; of more only the reversed order is tried


@dataclass(frozen=True)
class Mistake:
    """title: what the port does. hint: what is right. forward: what the mistake computes, called as the operator's forward."""

    title: str
    hint: str
    forward: Forward


def mistakes(op: str, shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """All that could be made in a layer: shapes of the arrays it takes, its attributes. None that change nothing there."""
    x = shapes[0]
    if op in _BY_OPERATOR:
        yield from _BY_OPERATOR[op](shapes, attributes)
    elif OPS[op].arity == 1 and OPS[op].window(x, **attributes) is None and OPS[op].output_shape(x, **attributes) == x:
        yield from _activation(_known(op, attributes))  # element by element


def _right(op: str, *arrays: Any, **attributes: Any) -> np.ndarray:
    y: np.ndarray = OPS[op].forward(*arrays, **attributes)[0]
    return y


# ---- convolutions --------------------------------------------------------------------------------------------------------


def _padded(op: str, before: tuple[int, int], mode: str = "constant") -> Forward:
    """The convolution with `before` zeros above and left, as many below and right as the output needs."""

    def forward(x: np.ndarray, w: np.ndarray, *rest: Any, stride: int = 1) -> np.ndarray:
        kernel = w.shape[:2]
        OH, OW = (-(-n // stride) for n in x.shape[1:3])
        after = [
            max((o - 1) * stride + k - n - b, 0) for o, k, n, b in zip((OH, OW), kernel, x.shape[1:3], before, strict=True)
        ]
        padding = ((0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0))
        padded = np.pad(x, padding, mode=mode)  # type: ignore[call-overload]
        y = _right(op, padded, w, *rest, stride=1)  # SAME: the window of output i starts at i - (k - 1) // 2
        first = [(k - 1) // 2 for k in kernel]
        rows = slice(first[0], first[0] + (OH - 1) * stride + 1, stride)
        columns = slice(first[1], first[1] + (OW - 1) * stride + 1, stride)
        return y[:, rows, columns]

    return forward


def _with_kernel(op: str, change: Callable[[np.ndarray], np.ndarray]) -> Forward:
    return lambda x, w, *rest, **attributes: _right(op, x, change(w), *rest, **attributes)


def _convolution(op: str) -> Callable[[list[Shape | None], dict[str, Any]], Iterator[Mistake]]:
    def make(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
        x, w = shapes[0], shapes[1]
        assert x is not None and w is not None
        stride, k = attributes.get("stride", 1), w[0]
        right = [same_padding(n, k, stride) for n in x[1:3]]
        before = right[0][0], right[1][0]
        symmetric = k // 2, k // 2
        if before != symmetric:
            said = " x ".join(str(pair) for pair in dict.fromkeys(right))
            hint = f"SAME padding at stride {stride} is {said} here: the smaller half comes first"
            yield Mistake("padded by half the kernel on every side (SAME padding shifted)", hint, _padded(op, symmetric))
        if k > 1:
            for mode, what in (("edge", "the border's values"), ("reflect", "mirrored values")):
                if min(x[1:3]) > k:
                    yield Mistake(f"padded with {what}", "SAME padding is with zeros", _padded(op, before, mode))
            hint = "a convolution here is a correlation: y[i] = sum x[i + u] w[u]"
            yield Mistake("kernel turned by 180 degrees", hint, _with_kernel(op, lambda w: w[::-1, ::-1]))
            exchanged = _with_kernel(op, lambda w: w.swapaxes(0, 1))
            yield Mistake("height and width of the kernel exchanged", "kernels are (kh, kw, ...)", exchanged)
        axes = OPS[op].kernel_axes
        dense = axes is not None and not axes.depthwise
        if dense and w[2] == w[3] and w[2] > 1:
            hint = "kernels are (kh, kw, Cin, Cout)"
            yield Mistake(
                "input and output channels of the kernel exchanged", hint, _with_kernel(op, lambda w: w.swapaxes(2, 3))
            )
        if dense:
            scrambled = _with_kernel(op, lambda w: w.reshape(w.shape[::-1][:2] + w.shape[:2]).transpose(2, 3, 1, 0))
            hint = "to (Cout, Cin, kh, kw) kernels are transposed by (3, 2, 0, 1)"
            yield Mistake("kernel reshaped to (Cout, Cin, kh, kw) instead of transposed", hint, scrambled)
        if len(shapes) > 2 and shapes[2] is not None:
            yield Mistake("without its bias", "this layer has a bias", lambda x, w, b, **a: _right(op, x, w, None, **a))

    return make


def _cropped(shift: int) -> Forward:
    """The transposed convolution with its output so many pixels further down and right."""

    def forward(x: np.ndarray, w: np.ndarray, b: Any = None, *, stride: int = 2) -> np.ndarray:
        wide = _right("conv_transpose2d", np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), w, b, stride=stride)
        start, H, W = 2 * stride + shift, x.shape[1] * stride, x.shape[2] * stride
        return wide[:, start : start + H, start : start + W]

    return forward


def _resized(x: np.ndarray, w: np.ndarray, b: Any = None, *, stride: int = 2) -> np.ndarray:
    """Twice the size, the values at the edge repeated beyond it."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return _right("conv_transpose2d", wide, w, b, stride=2)[:, 2:-2, 2:-2]


def _aligned(x: np.ndarray, w: np.ndarray, b: Any = None, *, stride: int = 2) -> np.ndarray:
    """Twice the size, linearly, the corners' centres where they were."""
    for axis in (1, 2):
        n = x.shape[axis]
        at = np.linspace(0, n - 1, 2 * n)
        low = np.minimum(at.astype(int), max(n - 2, 0))
        high = np.minimum(low + 1, n - 1)
        shape = [1] * 4
        shape[axis] = 2 * n
        part = (at - low).reshape(shape)
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x


def _transposed(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    op, (x, w) = "conv_transpose2d", (shapes[0], shapes[1])
    assert x is not None and w is not None
    crop = max(w[0] - attributes.get("stride", 2), 0) // 2
    if crop:
        hint = f"SAME crops {crop} at the start, as padding={crop} in PyTorch"
        yield Mistake("border of the transposed convolution: nothing cropped at the start", hint, _cropped(-crop))
        yield Mistake(f"border of the transposed convolution: {2 * crop} cropped at the start", hint, _cropped(crop))
    if w[0] == 4 and attributes.get("stride", 2) == 2:
        yield from _doubled(w)
    if w[0] > 1:
        turned = _with_kernel(op, lambda w: w[::-1, ::-1])
        yield Mistake("kernel turned by 180 degrees", "y[2i + u - 1] += x[i] w[u]", turned)
    if w[2] == w[3] and w[2] > 1:
        exchanged = _with_kernel(op, lambda w: w.swapaxes(2, 3))
        yield Mistake("input and output channels of the kernel exchanged", "kernels are (kh, kw, Cout, Cin)", exchanged)
    if len(shapes) > 2 and shapes[2] is not None:
        yield Mistake("without its bias", "this layer has a bias", lambda x, w, b, **a: _right(op, x, w, None, **a))


def _doubled(w: Shape) -> Iterator[Mistake]:
    """Of the upscaling by a 4x4 kernel: another resize in its place."""
    title = "border of the transposed convolution: values at the edge repeated, as a bilinear resize does"
    yield Mistake(title, "a transposed convolution fades to zero at the border", _resized)
    hint = "the kernel is bilinear with half-pixel centres, faded at the border"
    yield Mistake("resized with aligned corners", hint, _aligned)
    yield Mistake(
        "resized to the nearest pixel", "the kernel is bilinear", lambda x, w, b=None, **a: x.repeat(2, 1).repeat(2, 2)
    )
    if w[2] == w[3]:
        yield Mistake(
            "bilinear kernel at half its weight",
            "the kernel's four taps that meet a pixel sum to 1",
            lambda x, w, b=None, **a: _right("conv_transpose2d", x, bilinear_kernel(w.shape[2]) / 2, b, **a),
        )


# ---- normalisation and activations ----------------------------------------------------------------------------------------


def _batch_norm(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    op, right = "batch_norm", attributes.get("epsilon", EPSILON)
    for epsilon in (1e-5, 1e-4, 1e-6, 1e-7, 1e-8, 1e-2, 0.0, 1e-12):
        if epsilon != right:
            yield Mistake(
                f"batch norm with epsilon {epsilon:g}",
                f"epsilon is {right:g}, as Keras has it",
                lambda *arrays, _e=epsilon, **a: _right(op, *arrays, **{**a, "epsilon": _e}),
            )
    if attributes.get("training"):
        yield Mistake(
            "batch norm with running statistics",
            "in training it takes those of the batch",
            lambda *arrays, **a: _right(op, *arrays, **{**a, "training": False}),
        )
    else:
        yield Mistake(
            "batch norm with the statistics of the batch (training mode)",
            "at inference it takes the running ones",
            lambda *arrays, **a: _right(op, *arrays, **{**a, "training": True}),
        )

    def deviation(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, **a: Any) -> np.ndarray:
        y: np.ndarray = gamma * (x - mean) / (variance + a.get("epsilon", EPSILON)) + beta
        return y

    yield Mistake("batch norm divides by the variance", "it divides by its square root", deviation)
    yield Mistake(
        "batch norm adds epsilon to the standard deviation",
        "epsilon goes under the square root",
        lambda x, g, b, m, v, **a: g * (x - m) / (np.sqrt(v) + a.get("epsilon", EPSILON)) + b,
    )
    yield Mistake("batch norm left out", "this layer has one", lambda x, *rest, **a: x)
    yield Mistake(
        "batch norm without gamma",
        "it scales by gamma",
        lambda x, g, b, m, v, **a: _right(op, x, np.ones_like(g), b, m, v, **a),
    )
    yield Mistake(
        "batch norm without beta", "it adds beta", lambda x, g, b, m, v, **a: _right(op, x, g, np.zeros_like(b), m, v, **a)
    )
    yield Mistake(
        "gamma and beta exchanged", "gamma scales, beta is added", lambda x, g, b, m, v, **a: _right(op, x, b, g, m, v, **a)
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return _right("sigmoid", x)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "swish, x sigmoid(x)": lambda x: x * _sigmoid(x),
    "E-swish, 1.25 x sigmoid(x)": lambda x: 1.25 * x * _sigmoid(x),
    "x sigmoid(1.25 x)": lambda x: x * _sigmoid(1.25 * x),
    "1.5 x sigmoid(x)": lambda x: 1.5 * x * _sigmoid(x),
    "1.75 x sigmoid(x)": lambda x: 1.75 * x * _sigmoid(x),
    "hard swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "leaky ReLU of slope 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "none": lambda x: x,
}
_SAMPLES = np.linspace(-8, 8, 65)


def _known(op: str, attributes: dict[str, Any]) -> str:
    """What `ACTIVATIONS` calls an elementwise operator; the operator's own name where it is none of them."""
    y = _right(op, _SAMPLES, **attributes)
    names = [name for name, function in ACTIVATIONS.items() if np.allclose(function(_SAMPLES), y, rtol=1e-9, atol=1e-9)]
    return names[0] if names else ", ".join([op, *(f"{key} {value}" for key, value in attributes.items())])


def _activation(right: str) -> Iterator[Mistake]:
    """Every other activation. right: what is computed here."""
    for name, function in ACTIVATIONS.items():
        if name != right:
            hint = f"the activation here is {right}"
            yield Mistake(f"activation: {name}", hint, lambda x, *rest, _f=function, **a: _f(x))


def _prelu(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    return _activation("PReLU")


def _squeeze_excite(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    right = attributes.get("activation", "swish")

    def variant(
        squeeze: Callable[[np.ndarray], np.ndarray] = lambda x: x.mean((1, 2)),
        activation: Callable[[np.ndarray], np.ndarray] = lambda t: _right(right, t),
        gate: Callable[[np.ndarray], np.ndarray] = _sigmoid,
        biases: tuple[int, int] = (1, 1),
    ) -> Forward:
        def forward(x: Any, w_reduce: Any, b_reduce: Any, w_expand: Any, b_expand: Any, **a: Any) -> np.ndarray:
            hidden = activation(squeeze(x) @ w_reduce[0, 0] + biases[0] * b_reduce)
            y: np.ndarray = x * gate(hidden @ w_expand[0, 0] + biases[1] * b_expand)[:, None, None, :]
            return y

        return forward

    inside = _known(right, {})
    for name, function in ACTIVATIONS.items():
        if name != inside:
            yield Mistake(f"inside squeeze-excite, activation: {name}", f"it is {inside}", variant(activation=function))
    yield Mistake("squeeze-excite left out", "this layer scales every channel by its gate", lambda x, *rest, **a: x)
    hard = variant(gate=lambda u: np.clip(u / 6 + 0.5, 0, 1))
    yield Mistake("squeeze-excite with a hard sigmoid, clip(u / 6 + 0.5)", "the gate is a sigmoid", hard)
    keras_hard = variant(gate=lambda u: np.clip(0.2 * u + 0.5, 0, 1))
    yield Mistake("squeeze-excite with a hard sigmoid, clip(0.2 u + 0.5)", "the gate is a sigmoid", keras_hard)
    yield Mistake("squeeze-excite without the sigmoid", "the gate is a sigmoid", variant(gate=lambda u: u))
    pooled = variant(squeeze=lambda x: x.max((1, 2)))
    yield Mistake("squeeze-excite of the maximum", "it takes the mean over the map", pooled)
    yield Mistake("squeeze-excite of the sum", "it takes the mean over the map", variant(squeeze=lambda x: x.sum((1, 2))))
    yield Mistake("squeeze-excite without biases", "both convolutions have a bias", variant(biases=(0, 0)))
    yield Mistake("squeeze-excite without its first bias", "both convolutions have a bias", variant(biases=(0, 1)))
    yield Mistake("squeeze-excite without its second bias", "both convolutions have a bias", variant(biases=(1, 0)))


# ---- pooling, sums, concatenations ------------------------------------------------------------------------------------------


def _windows(x: np.ndarray, size: int) -> np.ndarray:
    """(N,H,W,C) -> (N,H/size,size,W/size,size,C), an odd rest cut."""
    N, H, W, C = x.shape
    x = x[:, : H // size * size, : W // size * size]
    return x.reshape(N, H // size, size, W // size, size, C)


def _avg_pool(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    size, hint = attributes.get("size", 2), "the mean of every window"
    yield Mistake("maximum of every window", hint, lambda x, **a: _windows(x, size).max((2, 4)))
    yield Mistake("every second pixel", hint, lambda x, **a: _windows(x, size)[:, :, 0, :, 0])
    yield Mistake("sum of every window", hint, lambda x, **a: _windows(x, size).sum((2, 4)))


def _max_pool(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    size, stride = attributes.get("size", 2), attributes.get("stride", 2)
    if size == stride and shapes[0] is not None and all(n % size == 0 for n in shapes[0][1:3]):
        yield Mistake("mean of every window", "the maximum of every window", lambda x, **a: _windows(x, size).mean((2, 4)))


def _add(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    yield Mistake("the sum left out: only its first input", "this layer adds both", lambda a, b: a)
    yield Mistake("the sum left out: only its second input", "this layer adds both", lambda a, b: b)
    yield Mistake("the inputs multiplied", "this layer adds both", lambda a, b: a * b)
    yield Mistake("the mean of the inputs", "this layer adds both", lambda a, b: (a + b) / 2)


def _concat(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    count = len(shapes)
    right = tuple(range(count))
    orders = list(permutations(right)) if factorial(count) <= ORDERS_OF_CONCAT else [right[::-1]]
    for order in orders:
        if order != right:
            said = "reversed" if order == right[::-1] else ", ".join(str(i + 1) for i in order)
            yield Mistake(
                f"concat order: inputs {said}",
                "see the layer's inputs for the right order",
                lambda *xs, _o=order: np.concatenate([xs[i] for i in _o], axis=-1),
            )


def _drop_connect(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    rate, hint = attributes.get("rate", 0.0), "at inference drop-connect does nothing"
    if rate:
        yield Mistake("scaled by 1 - rate (drop-connect at inference)", hint, lambda x, *m, **a: x * (1 - rate))
        yield Mistake("scaled by 1 / (1 - rate) (drop-connect at inference)", hint, lambda x, *m, **a: x / (1 - rate))


_BY_OPERATOR: dict[str, Callable[[list[Shape | None], dict[str, Any]], Iterator[Mistake]]] = {
    "conv2d": _convolution("conv2d"),
    "depthwise_conv2d": _convolution("depthwise_conv2d"),
    "conv_transpose2d": _transposed,
    "batch_norm": _batch_norm,
    "prelu": _prelu,
    "squeeze_excite": _squeeze_excite,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "add": _add,
    "concat": _concat,
    "drop_connect": _drop_connect,
}
