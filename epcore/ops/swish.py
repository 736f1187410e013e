"""Swish, the backbone's activation (Ramachandran et al. 2017).

    y = x * s(x),  s the sigmoid            dy/dx = s + x * s * (1 - s) = s * (1 + x * (1 - s))

Saved: x (held by the layer before it anyway); s is recomputed.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array
from epcore.op import Cost, Op
from epcore.ops.sigmoid import sigmoid
from epcore.shapes import Shape


def forward(x: Array) -> tuple[Array, tuple[Array]]:
    """x of any shape -> y as x."""
    return x * sigmoid(x), (x,)


def backward(dy: Array, saved: tuple[Array]) -> tuple[Array]:
    (x,) = saved
    s = sigmoid(x)
    return (dy * s * (1 + x * (1 - s)),)


def output_shape(x: Shape) -> Shape:
    return x


def cost(x: Shape) -> Cost:
    return Cost(elementwise={"swish": prod(x)}, backward_elementwise={"swish": prod(x)})


OP = Op("swish", forward, backward, output_shape, cost)
