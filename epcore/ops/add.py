"""Sum of two tensors of the same shape (residuals, skips).

Equation:
    y = a + b

Symbols:
    a, b, y of the same shape, element by element.

Derivation:
    Each of the two stands in y times 1:
        da = dy,    db = dy

Saved:
    nothing

Cost:
    Every element once forward, one addition; backward hands dy to both and computes nothing.

Source:
    He et al. 2016 (residual networks), Equation 1.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def forward(a: Array, b: Array) -> tuple[Array, tuple[()]]:
    """a and b of the same shape -> y as both. Raises ValueError where the shapes differ."""
    array_module(a, b)
    output_shape(a.shape, b.shape)
    return a + b, ()


def backward(dy: Array, saved: tuple[()]) -> tuple[Array, Array]:
    return dy, dy


def output_shape(a: Shape, b: Shape) -> Shape:
    if a != b:
        raise ValueError(f"add: a has shape {a} and b {b}, expected the same")
    return a


def cost(a: Shape, b: Shape) -> Cost:
    return Cost(elementwise={"add": prod(a)})


OP = Op("add", forward, backward, output_shape, cost, operations=(1, 0), onnx="Add")
