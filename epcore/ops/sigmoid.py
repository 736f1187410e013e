"""Logistic sigmoid.

Equation:
    y = 1 / (1 + exp(-x))

Symbols:
    x, y of any shape, element by element.

Derivation:
    With e = exp(-x), de/dx = -e:
        dy/dx = e / (1 + e)^2 = 1/(1 + e) * e/(1 + e) = y * (1 - y),        since 1 - y = e / (1 + e)
        dx = dy * y * (1 - y)

Saved:
    y
    From y alone the derivative follows without another exponential.

Cost:
    Every element once forward: negate, exponential, add, divide; once backward: three operations.

Source:
    The gate of squeeze-and-excitation: Hu et al. 2018, Equation 3.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow: the exponential is only ever taken of -|x|."""
    xp = array_module(x)
    e = xp.exp(-xp.abs(x))
    y: Array = xp.where(x >= 0, 1 / (1 + e), e / (1 + e))
    return y


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


OP = Op("sigmoid", forward, backward, output_shape, cost, exponential=True, operations=(4, 3), onnx="Sigmoid")
