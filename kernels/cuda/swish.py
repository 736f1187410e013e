"""Swish on the GPU; equation and contract: `epcore.ops.swish`."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source

SOURCE = Source("swish", ("swish_forward<{T},{V}>", "swish_backward<{T},{V}>"))


def forward(x: Array) -> tuple[Array, tuple[Array]]:
    T = check("swish", x=x)
    y = empty(x.shape, x)
    V = width(x.size, x, y)
    launch(SOURCE, T, f"swish_forward<{T},{V}>", flat(x.size, V), x, y, x.size)
    return y, (x,)


def backward(dy: Array, saved: tuple[Array]) -> tuple[Array]:
    (x,) = saved
    T = check("swish", dy=dy, x=x)
    check_shape("swish", "dy", dy, x.shape)
    dx = empty(x.shape, x)
    V = width(x.size, x, dy, dx)
    launch(SOURCE, T, f"swish_backward<{T},{V}>", flat(x.size, V), x, dy, dx, x.size)
    return (dx,)
