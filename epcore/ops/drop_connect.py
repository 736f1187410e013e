"""Drop-connect, also called stochastic depth (Huang et al. 2016): in training a whole residual branch is dropped per sample.

    y[n] = x[n] * mask[n] / (1 - rate)          dx[n] = dy[n] * mask[n] / (1 - rate)

The mask is drawn outside, so the operator is a plain function; dividing by the survival probability keeps the expectation,
and inference leaves the operator out. Saved: the mask.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def forward(x: Array, mask: Array, *, rate: float) -> tuple[Array, tuple[Array]]:
    """x (N,H,W,C), mask (N,1,1,1) of zeros and ones -> y as x. Raises ValueError for a rate outside [0, 1)."""
    array_module(x, mask)
    output_shape(x.shape, mask.shape, rate=rate)
    return x * (mask / x.dtype.type(1 - rate)), (mask,)


def backward(dy: Array, saved: tuple[Array], *, rate: float) -> tuple[Array, None]:
    (mask,) = saved
    return dy * (mask / dy.dtype.type(1 - rate)), None


def output_shape(x: Shape, mask: Shape, *, rate: float) -> Shape:
    if not 0 <= rate < 1:
        raise ValueError(f"drop_connect: rate is {rate}, expected 0 <= rate < 1")
    if mask != (x[0], 1, 1, 1):
        raise ValueError(f"drop_connect: mask has shape {mask}, expected ({x[0]}, 1, 1, 1)")
    return x


def cost(x: Shape, mask: Shape, *, rate: float) -> Cost:
    return Cost(elementwise={"drop_connect": prod(x)}, backward_elementwise={"drop_connect": prod(x)})


OP = Op("drop_connect", forward, backward, output_shape, cost)
