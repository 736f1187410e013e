"""Swish, the backbone's activation.

Equation:
    y = x * s,  s = sigmoid(x) = 1 / (1 + exp(-x))

Symbols:
    x, y of any shape, element by element. s is no stride here.

Derivation:
    Product rule, with ds/dx = s * (1 - s) (see `sigmoid`):
        dy/dx = s + x * s * (1 - s) = s * (1 + x * (1 - s))
        dx = dy * s * (1 + x * (1 - s))

Saved:
    x
    Held by the layer before it anyway; s is recomputed.

Cost:
    Every element once forward, a sigmoid and one multiplication; once backward, a sigmoid and five operations of the last line.

Source:
    Ramachandran et al. 2017, with beta = 1; activation of EfficientNet (Tan and Le 2019).
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array
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


OP = Op("swish", forward, backward, output_shape, cost, exponential=True, operations=(5, 9))
