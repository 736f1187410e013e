"""Logistic sigmoid.

    y = 1 / (1 + exp(-x))                dy/dx = y * (1 - y)

Saved: y, from which the derivative follows without another exponential.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow: the exponential is only ever taken of -|x|."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1 / (1 + e), e / (1 + e))


def forward(x: Array) -> tuple[Array, tuple[Array]]:
    """x of any shape -> y as x."""
    y = sigmoid(x)
    return y, (y,)


def backward(dy: Array, saved: tuple[Array]) -> tuple[Array]:
    (y,) = saved
    return (dy * y * (1 - y),)


def output_shape(x: Shape) -> Shape:
    return x


def cost(x: Shape) -> Cost:
    return Cost(elementwise={"sigmoid": prod(x)}, backward_elementwise={"sigmoid": prod(x)})


OP = Op("sigmoid", forward, backward, output_shape, cost)
