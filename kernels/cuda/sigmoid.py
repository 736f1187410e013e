"""Sigmoid on the GPU; equation and contract: `epcore.ops.sigmoid`."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source

SOURCE = Source("sigmoid", ("sigmoid_forward<{T},{V}>", "sigmoid_backward<{T},{V}>"))


def forward(x: Array) -> tuple[Array, tuple[Array]]:
    T = check("sigmoid", x=x)
    y = empty(x.shape, x)
    V = width(x.size, x, y)
    launch(SOURCE, T, f"sigmoid_forward<{T},{V}>", flat(x.size, V), x, y, x.size)
    return y, (y,)


def backward(dy: Array, saved: tuple[Array]) -> tuple[Array]:
    (y,) = saved
    T = check("sigmoid", dy=dy, y=y)
    check_shape("sigmoid", "dy", dy, y.shape)
    dx = empty(y.shape, y)
    V = width(y.size, y, dy, dx)
    launch(SOURCE, T, f"sigmoid_backward<{T},{V}>", flat(y.size, V), y, dy, dx, y.size)
    return (dx,)
