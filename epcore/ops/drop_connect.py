"""Drop-connect, also called stochastic depth: in training a whole residual branch is dropped per sample.

Equation:
    y[n] = x[n] * mask[n] / (1 - rate)

Symbols:
    x, y (N,H,W,C), mask (N,1,1,1) of zeros and ones, drawn outside, so that the operator is a plain function: a one with
    probability 1 - rate. Dividing by that keeps the expectation of y at x, so inference leaves the operator out.

Derivation:
    y is x times a constant of the sample; the mask is data and has no gradient:
        dx[n] = dy[n] * mask[n] / (1 - rate)

Saved:
    mask
    N values.

Cost:
    Every element once forward, once backward, one multiplication each.

Source:
    Huang et al. 2016 (stochastic depth), Equation 2, with the division moved from testing to training as in EfficientNet.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def forward(x: Array, mask: Array, *, rate: float) -> tuple[Array, tuple[Array]]:
    """x (N,H,W,C), mask (N,1,1,1) of zeros and ones -> y as x. Raises ValueError for a rate outside [0, 1)."""
    array_module(x, mask)
    output_shape(x.shape, mask.shape, rate=rate)
    # (N,H,W,C) * (N,1,1,1)
    return x * (mask / x.dtype.type(1 - rate)), (mask,)


def backward(dy: Array, saved: tuple[Array], *, rate: float) -> tuple[Array, None]:
    (mask,) = saved
    # (N,H,W,C) * (N,1,1,1)
    return dy * (mask / dy.dtype.type(1 - rate)), None


def output_shape(x: Shape, mask: Shape, *, rate: float) -> Shape:
    if not 0 <= rate < 1:
        raise ValueError(f"drop_connect: rate is {rate}, expected 0 <= rate < 1")
    if mask != (x[0], 1, 1, 1):
        raise ValueError(f"drop_connect: mask has shape {mask}, expected ({x[0]}, 1, 1, 1)")
    return x


def cost(x: Shape, mask: Shape, *, rate: float) -> Cost:
    return Cost(elementwise={"drop_connect": prod(x)}, backward_elementwise={"drop_connect": prod(x)})


OP = Op("drop_connect", forward, backward, output_shape, cost, data=("mask",), identity_at_inference=True, operations=(1, 1))
