"""E-swish, the activation of the detection blocks (Alcaide 2018; the paper uses beta = 1.25).

    y = beta * x * s(x),  s the sigmoid         dy/dx = beta * s * (1 + x * (1 - s))

Saved: x (held by the layer before it anyway); s is recomputed.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array
from epcore.op import Cost, Op
from epcore.ops.sigmoid import sigmoid
from epcore.shapes import Shape

BETA = 1.25


def forward(x: Array, *, beta: float = BETA) -> tuple[Array, tuple[Array]]:
    """x of any shape -> y as x."""
    return x.dtype.type(beta) * x * sigmoid(x), (x,)


def backward(dy: Array, saved: tuple[Array], *, beta: float = BETA) -> tuple[Array]:
    (x,) = saved
    s = sigmoid(x)
    return (x.dtype.type(beta) * dy * s * (1 + x * (1 - s)),)


def output_shape(x: Shape, *, beta: float = BETA) -> Shape:
    return x


def cost(x: Shape, *, beta: float = BETA) -> Cost:
    return Cost(elementwise={"eswish": prod(x)}, backward_elementwise={"eswish": prod(x)})


OP = Op("eswish", forward, backward, output_shape, cost)
