"""ReLU on the GPU; equation and contract: `epcore.ops.relu`."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source

SOURCE = Source("relu", ("relu_forward<{T},{V}>", "relu_backward<{T},{V}>"))
INFINITE = float("inf")


def forward(x: Array, *, maximum: float | None = None) -> tuple[Array, tuple[Array]]:
    T = check("relu", x=x)
    y = empty(x.shape, x)
    V = width(x.size, x, y)
    limit = x.dtype.type(INFINITE if maximum is None else maximum)
    launch(SOURCE, T, f"relu_forward<{T},{V}>", flat(x.size, V), x, y, limit, x.size)
    return y, (y,)


def backward(dy: Array, saved: tuple[Array], *, maximum: float | None = None) -> tuple[Array]:
    (y,) = saved
    T = check("relu", dy=dy, y=y)
    check_shape("relu", "dy", dy, y.shape)
    dx = empty(y.shape, y)
    V = width(y.size, y, dy, dx)
    limit = y.dtype.type(INFINITE if maximum is None else maximum)
    launch(SOURCE, T, f"relu_backward<{T},{V}>", flat(y.size, V), y, dy, dx, limit, y.size)
    return (dx,)
