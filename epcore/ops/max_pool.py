"""Max pooling with Keras SAME padding (VGG-19 in OpenPose); padding never wins.

Equation:
    y[n,i,j,c] = max_{u,v} x[n, i*s+u-p, j*s+v-q, c]            over the taps that lie within x

Symbols:
    x (N,H,W,C), y (N,OH,OW,C) with OH = ceil(H/s), OW = ceil(W/s); u, v < size. Indices: the legend in
    `epcore/ops/__init__.py`. p, q: padding as of a convolution, with -infinity. argmax[n,i,j,c] = u*size + v of the first tap,
    in row-major order, that has the maximum.

Derivation:
    Where a window has one largest element, y follows it one to one and does not feel the others; of equal ones the first wins
    (there is no derivative, any share of dy would do). With [A] = 1 where A holds, else 0, and as in `conv2d` one term for each
    (i,j,u,v), scattered to where the tap lies:
        dx[n, i*s+u-p, j*s+v-q, c] += dy[n,i,j,c] * [argmax[n,i,j,c] = u*size + v]
    Padding never wins, so nothing lands outside x.

Saved:
    argmax, the shape of x
    One byte an output.

Cost:
    Every tap of every output once forward; every output once backward.

Source:
    Simonyan and Zisserman 2015 (VGG-19), as OpenPose uses it: Cao et al. 2019.
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
            # (N,OH,OW,C) * (N,OH,OW,C)
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
