"""Concatenation along channels (dense blocks, and the features handed from pass to pass).

Equation:
    y = [x_1, x_2, ...]

Symbols:
    x_i (N,H,W,C_i), y (N,H,W,C_1 + C_2 + ...).

Derivation:
    Each x_i stands in y once, from channel C_1 + ... + C_(i-1) on, times 1:
        dx_i = the C_i channels of dy from there

Saved:
    the channel counts
    A handful of integers.

Cost:
    Every element is moved once forward, once backward: bytes, no operations.

Source:
    Huang et al. 2017 (DenseNet), Equation 2. In EfficientPose: Figures 2 and 3.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape


def forward(*xs: Array) -> tuple[Array, tuple[int, ...]]:
    """(N,H,W,C_i) each -> (N,H,W,sum C_i). Raises ValueError where N, H or W differ."""
    xp = array_module(*xs)
    output_shape(*(x.shape for x in xs))
    return xp.concatenate(xs, axis=-1), tuple(x.shape[-1] for x in xs)


def backward(dy: Array, saved: tuple[int, ...]) -> tuple[Array, ...]:
    xp = array_module(dy)
    pieces, start = [], 0
    for channels in saved:
        pieces.append(xp.ascontiguousarray(dy[..., start : start + channels]))
        start += channels
    return tuple(pieces)


def output_shape(*xs: Shape) -> Shape:
    if not xs:
        raise ValueError("concat: nothing to concatenate")
    for i, x in enumerate(xs):
        if x[:-1] != xs[0][:-1]:
            raise ValueError(f"concat: input {i} has shape {x}, expected {xs[0][:-1]} before the channels")
    return (*xs[0][:-1], sum(x[-1] for x in xs))


def cost(*xs: Shape) -> Cost:
    elements = sum(prod(x) for x in xs)
    return Cost(elementwise={"concat": elements}, backward_elementwise={"concat": elements})


OP = Op("concat", forward, backward, output_shape, cost, operations=(0, 0), onnx="Concat")
