"""Average pooling on the GPU; equation and contract: `epcore.ops.avg_pool`."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_axes, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.avg_pool import output_shape
from epcore.shapes import Shape

SOURCE = Source("avg_pool", ("avg_pool_forward<{T},{V}>", "avg_pool_backward<{T},{V}>"))


def forward(x: Array, *, size: int = 2) -> tuple[Array, tuple[Shape]]:
    T = check("avg_pool", x=x)
    check_axes("avg_pool", "x", x)
    y = empty(output_shape(x.shape, size=size), x)
    V = width(x.shape[3], x, y)
    launch(SOURCE, T, f"avg_pool_forward<{T},{V}>", flat(y.size, V), x, y, *x.shape, *y.shape[1:3], size)
    return y, (x.shape,)


def backward(dy: Array, saved: tuple[Shape], *, size: int = 2) -> tuple[Array]:
    (shape,) = saved
    T = check("avg_pool", dy=dy)
    check_shape("avg_pool", "dy", dy, output_shape(shape, size=size))
    dx = empty(shape, dy)
    V = width(shape[3], dy, dx)
    launch(SOURCE, T, f"avg_pool_backward<{T},{V}>", flat(dx.size, V), dy, dx, *shape, *dy.shape[1:3], size)
    return (dx,)
