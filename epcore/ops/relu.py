"""Rectified linear unit, optionally capped (ReLU6 of the Lite variants has maximum = 6).

    y = min(max(x, 0), maximum)             dy/dx = 1 where 0 < x < maximum, else 0 (0 at both kinks)

Saved: y; it lies strictly between the limits exactly where x does.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
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
    open_gate = y > 0
    if maximum is not None:
        open_gate &= y < maximum
    return (dy * open_gate,)


def output_shape(x: Shape, *, maximum: float | None = None) -> Shape:
    return x


def cost(x: Shape, *, maximum: float | None = None) -> Cost:
    return Cost(elementwise={"relu": prod(x)}, backward_elementwise={"relu": prod(x)})


OP = Op("relu", forward, backward, output_shape, cost)
