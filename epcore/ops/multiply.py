"""Product of two tensors, NumPy broadcasting allowed.

Equation:
    y = a * b

Symbols:
    a, b, y of shapes that broadcast to y's, element by element.

Derivation:
    Product rule. Where an operand was stretched, one entry of it is part of many y: its gradient is the sum over them.
        da = sum of dy * b over the axes along which a was broadcast,    db = sum of dy * a over b's

Saved:
    a, b
    Both are held by others anyway.

Cost:
    Every element of y once forward, twice backward, one multiplication each.

Source:
    The scale of squeeze-and-excitation written out: Hu et al. 2018, Equation 4.
"""

from __future__ import annotations

from math import prod

import numpy as np

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape
from epcore.sums import dot_in_double


def forward(a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    """a, b of broadcastable shapes -> y. Raises ValueError where they do not broadcast."""
    array_module(a, b)
    output_shape(a.shape, b.shape)
    return a * b, (a, b)


def backward(dy: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    a, b = saved
    return _unbroadcast_product(dy, b, a), _unbroadcast_product(dy, a, b)


def _unbroadcast_product(dy: Array, other: Array, factor: Array) -> Array:
    """dy * other, summed over the axes that broadcasting added to `factor` or stretched."""
    added = dy.ndim - factor.ndim
    stretched = tuple(added + i for i, n in enumerate(factor.shape) if n == 1 and dy.shape[added + i] != 1)
    axes = (*range(added), *stretched)
    # (shape of y) * (shape of y, or what broadcasts to it), summed to the shape of `factor`
    return dot_in_double(dy, other, axes).reshape(factor.shape).astype(dy.dtype) if axes else dy * other


def output_shape(a: Shape, b: Shape) -> Shape:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"multiply: a has shape {a} and b {b}, which do not broadcast") from None


def cost(a: Shape, b: Shape) -> Cost:
    elements = prod(output_shape(a, b))
    return Cost(elementwise={"multiply": elements}, backward_elementwise={"multiply": 2 * elements})


OP = Op("multiply", forward, backward, output_shape, cost, operations=(1, 1), onnx="Mul")
