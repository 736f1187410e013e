"""Max pooling on the GPU; equation and contract: `epcore.ops.max_pool`."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_axes, check_memory, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.max_pool import output_shape
from epcore.shapes import Shape, Window

SOURCE = Source("max_pool", ("max_pool_forward<{T},{V}>", "max_pool_backward<{T},{V}>"))


def forward(x: Array, *, size: int = 2, stride: int = 2) -> tuple[Array, tuple[Array, Shape]]:
    T = check("max_pool", x=x)
    check_axes("max_pool", "x", x)
    shape = output_shape(x.shape, size=size, stride=stride)
    y, argmax = empty(shape, x), empty(shape, x, np.uint8)
    V = width(x.shape[3], x, y, argmax)
    top, left = Window(x.shape, (size, size), stride).start
    launch(
        SOURCE, T, f"max_pool_forward<{T},{V}>", flat(y.size, V),
        x, y, argmax, *x.shape, *shape[1:3], size, stride, top, left, x.dtype.type(-np.inf),
    )  # fmt: skip
    return y, (argmax, x.shape)


def backward(dy: Array, saved: tuple[Array, Shape], *, size: int = 2, stride: int = 2) -> tuple[Array]:
    argmax, shape = saved
    T = check("max_pool", dy=dy)
    check_memory("max_pool", "argmax", argmax)
    if argmax.dtype != np.uint8:
        raise TypeError(f"max_pool: argmax has dtype {argmax.dtype}, expected uint8")
    check_shape("max_pool", "argmax", argmax, output_shape(shape, size=size, stride=stride))
    check_shape("max_pool", "dy", dy, argmax.shape)
    dx = empty(shape, dy)
    V = width(shape[3], dy, dx, argmax)
    top, left = Window(shape, (size, size), stride).start
    launch(
        SOURCE, T, f"max_pool_backward<{T},{V}>", flat(dx.size, V),
        dy, argmax, dx, *shape, *dy.shape[1:3], size, stride, top, left,
    )  # fmt: skip
    return (dx,)
