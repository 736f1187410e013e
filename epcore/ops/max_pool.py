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
    Every tap of every output once forward, a comparison; every output once backward, an addition.

Source:
    Simonyan and Zisserman 2015 (VGG-19), as OpenPose uses it: Cao et al. 2019.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Kept, Op
from epcore.shapes import Shape, Window, output_size


def forward(x: Array, *, size: int = 2, stride: int = 2) -> tuple[Array, tuple[Array, Shape]]:
    """x (N,H,W,C) -> y (N, ceil(H/s), ceil(W/s), C)."""
    xp = array_module(x)
    shape = output_shape(x.shape, size=size, stride=stride)
    windows = window(x.shape, size=size, stride=stride)
    padded = windows.pad(x, -xp.inf)
    y = xp.full(shape, -xp.inf, x.dtype)
    argmax = xp.zeros(shape, xp.uint8)
    for u, v in windows.taps():
        tap = padded[windows.tap(u, v)]
        better = tap > y
        argmax = xp.where(better, xp.uint8(u * size + v), argmax)
        y = xp.where(better | xp.isnan(tap), tap, y)
    return y, (argmax, x.shape)


def backward(dy: Array, saved: tuple[Array, Shape], *, size: int = 2, stride: int = 2) -> tuple[Array]:
    argmax, shape = saved
    xp = array_module(dy, argmax)
    windows = window(shape, size=size, stride=stride)
    dpadded = xp.zeros(windows.padded, dy.dtype)
    for u, v in windows.taps():
        # (N,OH,OW,C) * (N,OH,OW,C)
        dpadded[windows.tap(u, v)] += dy * (argmax == u * size + v)
    return (windows.crop(dpadded),)


def output_shape(x: Shape, *, size: int = 2, stride: int = 2) -> Shape:
    if size < 1 or size > 15:
        raise ValueError(f"max_pool: size is {size}, expected 1 to 15 (the winner's position is kept in one byte)")
    return x[0], output_size(x[1], stride), output_size(x[2], stride), x[3]


def cost(x: Shape, *, size: int = 2, stride: int = 2) -> Cost:
    outputs = prod(output_shape(x, size=size, stride=stride))
    return Cost(elementwise={"max_pool": outputs * size * size}, backward_elementwise={"max_pool": outputs})


def keeps(x: Shape, *, size: int = 2, stride: int = 2) -> tuple[Kept, ...]:
    return (Kept(output_shape(x, size=size, stride=stride), itemsize=1),)


def window(x: Shape, *, size: int = 2, stride: int = 2) -> Window:
    return Window(x, (size, size), stride)


OP = Op(
    "max_pool", forward, backward, output_shape, cost, ties=True, operations=(1, 1), keeps=keeps, window=window, onnx="MaxPool"
)
