"""Mean over all pixels, one value a channel.

    y[n,0,0,c] = 1/(H*W) * sum_{i,j} x[n,i,j,c]             dx[n,i,j,c] = dy[n,0,0,c] / (H*W)

Saved: x's shape.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape
from epcore.sums import mean_in_double


def forward(x: Array) -> tuple[Array, tuple[Shape]]:
    """x (N,H,W,C) -> y (N,1,1,C)."""
    return mean_in_double(x, (1, 2), keepdims=True).astype(x.dtype), (x.shape,)


def backward(dy: Array, saved: tuple[Shape]) -> tuple[Array]:
    (shape,) = saved
    xp = array_module(dy)
    return (xp.broadcast_to(dy / (shape[1] * shape[2]), shape).copy(),)


def output_shape(x: Shape) -> Shape:
    return x[0], 1, 1, x[3]


def cost(x: Shape) -> Cost:
    return Cost(elementwise={"mean": prod(x)}, backward_elementwise={"mean": prod(x)})


OP = Op("global_mean", forward, backward, output_shape, cost)
