"""Max pooling with Keras SAME padding (VGG-19 in OpenPose); padding never wins.

    y[n,i,j,c] = max over the window of x

Derivative: the whole of dy goes to the element that won; of equal ones the first in row-major order wins.

Saved: the winner's position in its window (one byte an output) and x's shape.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape, output_size, window_padding


def forward(x: Array, *, size: int = 2, stride: int = 2) -> tuple[Array, tuple[Array, Shape]]:
    """x (N,H,W,C) -> y (N, ceil(H/s), ceil(W/s), C)."""
    xp = array_module(x)
    shape = output_shape(x.shape, size=size, stride=stride)
    padding = window_padding(x.shape[1], x.shape[2], (size, size), stride)
    padded = xp.pad(x, padding, constant_values=-xp.inf)
    y = xp.full(shape, -xp.inf, x.dtype)
    argmax = xp.zeros(shape, xp.uint8)
    for u in range(size):
        for v in range(size):
            tap = padded[(slice(None), *_tap(u, v, shape, stride))]
            better = tap > y
            argmax = xp.where(better, xp.uint8(u * size + v), argmax)
            y = xp.where(better | xp.isnan(tap), tap, y)
    return y, (argmax, x.shape)


def backward(dy: Array, saved: tuple[Array, Shape], *, size: int = 2, stride: int = 2) -> tuple[Array]:
    argmax, shape = saved
    xp = array_module(dy, argmax)
    padding = window_padding(shape[1], shape[2], (size, size), stride)
    dpadded = xp.zeros([n + sum(p) for n, p in zip(shape, padding, strict=True)], dy.dtype)
    for u in range(size):
        for v in range(size):
            dpadded[(slice(None), *_tap(u, v, dy.shape, stride))] += dy * (argmax == u * size + v)
    (top, _), (left, _) = padding[1:3]
    return (dpadded[:, top : top + shape[1], left : left + shape[2]],)


def _tap(u: int, v: int, y: Shape, stride: int) -> tuple[slice, slice]:
    return slice(u, u + (y[1] - 1) * stride + 1, stride), slice(v, v + (y[2] - 1) * stride + 1, stride)


def output_shape(x: Shape, *, size: int = 2, stride: int = 2) -> Shape:
    if size < 1 or size > 15:
        raise ValueError(f"max_pool: size is {size}, expected 1 to 15 (the winner's position is kept in one byte)")
    return x[0], output_size(x[1], stride), output_size(x[2], stride), x[3]


def cost(x: Shape, *, size: int = 2, stride: int = 2) -> Cost:
    outputs = prod(output_shape(x, size=size, stride=stride))
    return Cost(elementwise={"max_pool": outputs * size * size}, backward_elementwise={"max_pool": outputs})


OP = Op("max_pool", forward, backward, output_shape, cost)
