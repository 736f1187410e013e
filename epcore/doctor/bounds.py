"""How far a float32 kernel may be from the float64 reference.

Of the largest value that flows: 8 eps where every element is computed on its own, 2 eps sqrt(K) where K terms are summed, both
where an operator does both. That is what rounding can do, with room for sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np

EPS = float(np.finfo(np.float32).eps)
ELEMENTWISE = 0  # summed terms of what sums nothing
FEW = 16  # 2 sqrt(16) = 8: sums of at most so many terms beside elementwise steps
Arrays = list[np.ndarray | None]


def allowed(op: str, arrays: Arrays, attributes: dict[str, Any], dy: np.ndarray, right: list[np.ndarray | None]) -> list[float]:
    """The largest error of y and of every gradient. arrays, dy: what went in. right: y and the gradients, in double."""
    y = right[0]
    assert y is not None
    counts = _TERMS.get(op, _by_size)(arrays, y)
    if len(counts) < len(right):  # any number of inputs
        counts = (*counts, *(counts[-1:] * (len(right) - len(counts))))
    scales = _SCALES[op](arrays, attributes, dy) if op in _SCALES else {}
    errors = []
    for i, (terms, array) in enumerate(zip(counts, right, strict=False)):
        largest = 0.0 if array is None else float(np.abs(array).max())
        factor = 2 * sqrt(terms) + (8 if terms in (ELEMENTWISE, 1) else 0)
        errors.append(factor * EPS * max(largest, scales.get(i, 0.0)))
    return errors


# ---- summed terms of y and of every gradient, by operator


def _by_size(arrays: Arrays, y: np.ndarray) -> tuple[int, ...]:
    """Where no products are summed: a small array is a sum over a large one's elements, or is used for that many of them."""
    x = arrays[0]
    assert x is not None
    return _summed(x.size, y.size), *(ELEMENTWISE if array is None else _summed(y.size, array.size) for array in arrays)


def _summed(larger: int, smaller: int) -> int:
    return max(FEW, larger // smaller) if larger > smaller else ELEMENTWISE


def _shape(array: np.ndarray | None) -> tuple[int, ...]:
    assert array is not None
    return array.shape


def _conv2d(arrays: Arrays, y: np.ndarray) -> tuple[int, ...]:
    kh, kw, inputs, outputs = _shape(arrays[1])
    pixels = prod(y.shape[:3])
    return kh * kw * inputs, kh * kw * outputs, pixels, pixels


def _depthwise_conv2d(arrays: Arrays, y: np.ndarray) -> tuple[int, ...]:
    taps = prod(_shape(arrays[1])[:2])
    return taps, taps, prod(y.shape[:3])


def _conv_transpose2d(arrays: Arrays, y: np.ndarray) -> tuple[int, ...]:
    kh, kw, outputs, inputs = _shape(arrays[1])
    return kh * kw * inputs, kh * kw * outputs, prod(_shape(arrays[0])[:3]), prod(y.shape[:3])


def _batch_norm(arrays: Arrays, y: np.ndarray) -> tuple[int, ...]:
    return (max(FEW, prod(y.shape[:3])),) * 6


def _squeeze_excite(arrays: Arrays, y: np.ndarray) -> tuple[int, ...]:
    hidden = _shape(arrays[1])[3]
    return (max(FEW, prod(y.shape[1:3]) + y.shape[3] + hidden),) * 6


_TERMS: dict[str, Callable[[Arrays, np.ndarray], tuple[int, ...]]] = {
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "batch_norm": _batch_norm,
    "squeeze_excite": _squeeze_excite,
}


# ---- the largest value that flows into y and every gradient, where more flows in than comes out


def _batch_norm_scales(arrays: Arrays, attributes: dict[str, Any], dy: np.ndarray) -> dict[int, float]:
    """What batch norm subtracts can be much larger than what is left: y is a difference of terms like gamma x / deviation, dx
    one of terms like gamma dy / deviation, dgamma a sum of dy times a difference of x."""
    x, gamma, _, _, variance = (np.asarray(array, np.float64) for array in arrays)
    deviation = np.sqrt((x.var(axis=(0, 1, 2)) if attributes["training"] else variance) + 1e-3)
    slope = float(np.abs(gamma / deviation).max())
    largest_x, largest_dy = float(np.abs(x).max()), float(np.abs(dy).max())
    return {0: slope * largest_x, 1: slope * largest_dy, 2: slope * largest_x * largest_dy}


def _squeeze_excite_scales(arrays: Arrays, attributes: dict[str, Any], dy: np.ndarray) -> dict[int, float]:
    """Gradients of the weights are sums of terms of either sign: over hidden units, of what the gates receive."""
    x, w_reduce, b_reduce, w_expand, _ = (np.asarray(array, np.float64) for array in arrays)
    mean = x.mean(axis=(1, 2))
    hidden = float(np.abs(mean @ w_reduce[0, 0] + b_reduce).max())
    gate = float(np.abs((dy * x).sum(axis=(1, 2))).max()) / 4  # a sigmoid's slope is at most 1/4
    unit = gate * float(np.abs(w_expand).max())
    largest_mean, largest_dy = float(np.abs(mean).max()), float(np.abs(dy).max())
    return {1: largest_dy, 2: unit * largest_mean, 3: unit, 4: gate * hidden, 5: gate}


_SCALES: dict[str, Callable[[Arrays, dict[str, Any], np.ndarray], dict[int, float]]] = {
    "batch_norm": _batch_norm_scales,
    "squeeze_excite": _squeeze_excite_scales,
}
