"""Average pooling without overlap (2x2, in front of the low-resolution backbone); an odd rest at the end is cut off.

    y[n,i,j,c] = 1/k^2 * sum_{u,v<k} x[n, i*k+u, j*k+v, c]          dx[n, i*k+u, j*k+v, c] = dy[n,i,j,c] / k^2

Saved: x's shape.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape
from epcore.sums import mean_in_double


def forward(x: Array, *, size: int = 2) -> tuple[Array, tuple[Shape]]:
    """x (N,H,W,C) -> y (N, floor(H/k), floor(W/k), C). Raises ValueError where nothing would remain."""
    N, OH, OW, C = output_shape(x.shape, size=size)
    windows = x[:, : OH * size, : OW * size].reshape(N, OH, size, OW, size, C)
    return mean_in_double(windows, (2, 4)).astype(x.dtype), (x.shape,)


def backward(dy: Array, saved: tuple[Shape], *, size: int = 2) -> tuple[Array]:
    (shape,) = saved
    xp = array_module(dy)
    N, OH, OW, C = dy.shape
    dx = xp.zeros(shape, dy.dtype)
    share = dy[:, :, None, :, None, :] / (size * size)
    windows = xp.broadcast_to(share, (N, OH, size, OW, size, C))
    dx[:, : OH * size, : OW * size] = windows.reshape(N, OH * size, OW * size, C)
    return (dx,)


def output_shape(x: Shape, *, size: int = 2) -> Shape:
    if min(x[1], x[2]) < size:
        raise ValueError(f"avg_pool: x {x} is smaller than the {size}x{size} window")
    return x[0], x[1] // size, x[2] // size, x[3]


def cost(x: Shape, *, size: int = 2) -> Cost:
    taken = prod(output_shape(x, size=size)) * size * size
    return Cost(elementwise={"avg_pool": taken}, backward_elementwise={"avg_pool": taken})


OP = Op("avg_pool", forward, backward, output_shape, cost)
