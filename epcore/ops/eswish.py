"""E-swish, the activation of the detection blocks: swish times a constant.

Equation:
    y = beta * x * s,  s = sigmoid(x) = 1 / (1 + exp(-x))

Symbols:
    x, y of any shape, element by element; beta a constant, 1.25 in the paper. s is no stride here.

Derivation:
    beta is a factor; the rest is `swish`, by the product rule with ds/dx = s * (1 - s):
        dx = beta * dy * s * (1 + x * (1 - s))

Saved:
    x
    Held by the layer before it anyway; s is recomputed.

Cost:
    Every element once forward, a swish and one multiplication; once backward, one more than swish too.

Source:
    Alcaide 2018. In EfficientPose: the Mobile DenseNets (Figure 3).
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array
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


OP = Op("eswish", forward, backward, output_shape, cost, exponential=True, operations=(6, 10))
