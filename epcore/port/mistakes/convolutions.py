"""Convolutions gone wrong: padding, kernels turned or laid out otherwise, the border of the upscaling, biases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from epcore.ops import OPS
from epcore.ops.conv_transpose2d import bilinear_kernel
from epcore.port.mistakes.mistake import Mistake, correct
from epcore.port.setting import Forward
from epcore.shapes import Shape, same_padding


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
        y = correct(op, padded, w, *rest, stride=1)  # SAME: the window of output i starts at i - (k - 1) // 2
        first = [(k - 1) // 2 for k in kernel]
        rows = slice(first[0], first[0] + (OH - 1) * stride + 1, stride)
        columns = slice(first[1], first[1] + (OW - 1) * stride + 1, stride)
        return y[:, rows, columns]

    return forward


def _with_kernel(op: str, change: Callable[[np.ndarray], np.ndarray]) -> Forward:
    return lambda x, w, *rest, **attributes: correct(op, x, change(w), *rest, **attributes)


def convolution(op: str) -> Callable[[list[Shape | None], dict[str, Any]], Iterator[Mistake]]:
    """What is tried in convolutions of one kind."""

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
            yield Mistake("without its bias", "this layer has a bias", lambda x, w, b, **a: correct(op, x, w, None, **a))

    return make


def _cropped(shift: int) -> Forward:
    """The transposed convolution with its output so many pixels further down and right."""

    def forward(x: np.ndarray, w: np.ndarray, b: Any = None, *, stride: int = 2) -> np.ndarray:
        wide = correct("conv_transpose2d", np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), w, b, stride=stride)
        start, H, W = 2 * stride + shift, x.shape[1] * stride, x.shape[2] * stride
        return wide[:, start : start + H, start : start + W]

    return forward


def _resized(x: np.ndarray, w: np.ndarray, b: Any = None, *, stride: int = 2) -> np.ndarray:
    """Twice the size, the values at the edge repeated beyond it."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    return correct("conv_transpose2d", wide, w, b, stride=2)[:, 2:-2, 2:-2]


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


def transposed_convolution(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Of the upscaling: its border, and other resizes."""
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
        yield Mistake("without its bias", "this layer has a bias", lambda x, w, b, **a: correct(op, x, w, None, **a))


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
            lambda x, w, b=None, **a: correct("conv_transpose2d", x, bilinear_kernel(w.shape[2]) / 2, b, **a),
        )
