"""Drop-connect on the GPU; equation and contract: `epcore.ops.drop_connect`."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.drop_connect import output_shape

SOURCE = Source("drop_connect", ("drop_connect<{T},{V}>",))


def forward(x: Array, mask: Array, *, rate: float) -> tuple[Array, tuple[Array]]:
    return _scale(x, "x", mask, rate), (mask,)


def backward(dy: Array, saved: tuple[Array], *, rate: float) -> tuple[Array, None]:
    (mask,) = saved
    return _scale(dy, "dy", mask, rate), None


def _scale(x: Array, name: str, mask: Array, rate: float) -> Array:
    T = check("drop_connect", **{name: x, "mask": mask})
    y = empty(output_shape(x.shape, mask.shape, rate=rate), x)
    size = x.size // x.shape[0]
    V = width(size, x, y)
    grid, block = flat(size, V)
    launch(SOURCE, T, f"drop_connect<{T},{V}>", ((*grid, x.shape[0]), block), x, mask, y, x.dtype.type(1 - rate), size)
    return y
