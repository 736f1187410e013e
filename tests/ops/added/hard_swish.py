"""Hard swish: swish with a piecewise linear sigmoid, for processors on which an exponential is dear.

Equation:
    y = x * clip(x + 3, 0, 6) / 6

Symbols:
    x, y of any shape, element by element. clip(t, 0, 6) = min(max(t, 0), 6).

Derivation:
    Product rule, piece by piece: below -3 the second factor is 0, above 3 it is 1, and between it is (x + 3) / 6 with the
    derivative 1/6:
        dy/dx = 0,    1,    (x + 3) / 6 + x / 6 = (2 * x + 3) / 6
    At the two kinks there is no derivative, and that of the outer piece is taken:
        dx = dy * (0 where x <= -3, 1 where x >= 3, else (2 * x + 3) / 6)

Saved:
    x
    Held by the layer before it anyway.

Cost:
    Every element once forward: an addition, two comparisons, a product, a division; once backward: two comparisons and four
    operations.

Source:
    Howard et al. 2019 (MobileNetV3), Section 5.2.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def forward(x: Array) -> tuple[Array, tuple[Array]]:
    """x of any shape -> y as x."""
    xp = array_module(x)
    return x * xp.clip(x + 3, 0, 6) / 6, (x,)


def backward(dy: Array, saved: tuple[Array]) -> tuple[Array]:
    (x,) = saved
    xp = array_module(dy, x)
    inner = (2 * x + 3) / 6
    return (dy * xp.where(x <= -3, 0, xp.where(x >= 3, 1, inner)).astype(dy.dtype),)


def output_shape(x: Shape) -> Shape:
    return x


def cost(x: Shape) -> Cost:
    return Cost(elementwise={"hard_swish": prod(x)}, backward_elementwise={"hard_swish": prod(x)})


OP = Op("hard_swish", forward, backward, output_shape, cost, kinks=(-3.0, 3.0), operations=(5, 6), onnx="HardSwish")
