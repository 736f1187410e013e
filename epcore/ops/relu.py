"""Rectified linear unit, optionally capped (ReLU6 of the Lite variants has maximum = 6).

Equation:
    y = min(max(x, 0), maximum)

Symbols:
    x, y of any shape, element by element; maximum a constant, None for no cap.

Derivation:
    Between the limits y = x, elsewhere y is constant. At the two kinks there is no derivative, and 0 is taken:
        dx = dy where 0 < x < maximum, else 0

Saved:
    y
    It lies strictly between the limits exactly where x does, and the layer after it holds it anyway.

Cost:
    Every element once forward, once backward, one comparison each.

Source:
    Nair and Hinton 2010; the cap: Sandler et al. 2018 (MobileNetV2), in the release's Lite models.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def forward(x: Array, *, maximum: float | None = None) -> tuple[Array, tuple[Array]]:
    """x of any shape -> y as x."""
    xp = array_module(x)
    y = xp.maximum(x, 0)
    if maximum is not None:
        y = xp.minimum(y, x.dtype.type(maximum))
    return y, (y,)


def backward(dy: Array, saved: tuple[Array], *, maximum: float | None = None) -> tuple[Array]:
    (y,) = saved
    between = y > 0
    if maximum is not None:
        between &= y < maximum
    return (dy * between,)


def output_shape(x: Shape, *, maximum: float | None = None) -> Shape:
    return x


def cost(x: Shape, *, maximum: float | None = None) -> Cost:
    return Cost(elementwise={"relu": prod(x)}, backward_elementwise={"relu": prod(x)})


OP = Op("relu", forward, backward, output_shape, cost, kinks=(0.0,), operations=(1, 1))
