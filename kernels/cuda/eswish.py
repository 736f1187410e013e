"""E-swish on the GPU; equation and contract: `epcore.ops.eswish`."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.eswish import BETA

SOURCE = Source("eswish", ("eswish_forward<{T},{V}>", "eswish_backward<{T},{V}>"))


def forward(x: Array, *, beta: float = BETA) -> tuple[Array, tuple[Array]]:
    T = check("eswish", x=x)
    y = empty(x.shape, x)
    V = width(x.size, x, y)
    launch(SOURCE, T, f"eswish_forward<{T},{V}>", flat(x.size, V), x, y, x.dtype.type(beta), x.size)
    return y, (x,)


def backward(dy: Array, saved: tuple[Array], *, beta: float = BETA) -> tuple[Array]:
    (x,) = saved
    T = check("eswish", dy=dy, x=x)
    check_shape("eswish", "dy", dy, x.shape)
    dx = empty(x.shape, x)
    V = width(x.size, x, dy, dx)
    launch(SOURCE, T, f"eswish_backward<{T},{V}>", flat(x.size, V), x, dy, dx, x.dtype.type(beta), x.size)
    return (dx,)
