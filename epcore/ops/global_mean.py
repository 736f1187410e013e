"""Mean over all pixels, one value a channel.

Equation:
    y[n,0,0,c] = 1/(H*W) * sum_{h,k} x[n,h,k,c]

Symbols:
    x (N,H,W,C), y (N,1,1,C).

Derivation:
    Each pixel is part of one y, times 1/(H*W):
        dx[n,h,k,c] = dy[n,0,0,c] / (H*W)

Saved:
    the shape of x
    A handful of integers.

Cost:
    Every element once forward, once backward.

Source:
    Lin et al. 2014 (Network in Network), Section 3.2; the squeeze of Hu et al. 2018, Equation 2.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
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


OP = Op("global_mean", forward, backward, output_shape, cost, averages_map=True, onnx="GlobalAveragePool")
