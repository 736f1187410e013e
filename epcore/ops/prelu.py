"""Parametric rectified linear unit with one slope a channel (OpenPose's activation).

Equation:
    y = x  where x > 0,  alpha[c] * x  elsewhere

Symbols:
    x, y (N,H,W,C), alpha (C,). At x = 0 the slope is alpha.

Derivation:
    Where x > 0 alpha plays no part; elsewhere y is a product of the two:
        dx = dy where x > 0, alpha[c] * dy elsewhere
        dalpha[c] = sum over n,h,k with x <= 0 of dy * x

Saved:
    x, alpha
    Both are held by others anyway.

Cost:
    Every element once forward, a comparison and alpha * x; once backward, a comparison and alpha * dy, and for dalpha the
    smaller of x and 0, a product and a sum.

Source:
    He et al. 2015, Equations 1 and 3.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape
from epcore.sums import dot_in_double


def forward(x: Array, alpha: Array) -> tuple[Array, tuple[Array, Array]]:
    """x (N,H,W,C), alpha (C,) -> y as x. Raises ValueError where the shapes do not fit."""
    xp = array_module(x, alpha)
    output_shape(x.shape, alpha.shape)
    # (C,) * (N,H,W,C)
    return xp.where(x > 0, x, alpha * x), (x, alpha)


def backward(dy: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    x, alpha = saved
    xp = array_module(dy, x, alpha)
    # (C,) * (N,H,W,C)
    dx = xp.where(x > 0, dy, alpha * dy)
    # (N,H,W,C) * (N,H,W,C), summed to (C,)
    dalpha = dot_in_double(dy, xp.minimum(x, 0), (0, 1, 2)).astype(x.dtype)
    return dx, dalpha


def output_shape(x: Shape, alpha: Shape) -> Shape:
    if alpha != (x[-1],):
        raise ValueError(f"prelu: alpha has shape {alpha}, expected ({x[-1]},)")
    return x


def cost(x: Shape, alpha: Shape) -> Cost:
    return Cost(elementwise={"prelu": prod(x)}, backward_elementwise={"prelu": prod(x)})


OP = Op("prelu", forward, backward, output_shape, cost, kinks=(0.0,), operations=(2, 5), onnx="PRelu")
