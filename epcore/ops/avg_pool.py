"""Average pooling without overlap (2x2, in front of the low-resolution backbone); an odd rest at the end is cut off.

Equation:
    y[n,i,j,c] = 1/size^2 * sum_{u,v<size} x[n, i*size+u, j*size+v, c]

Symbols:
    x (N,H,W,C), y (N,OH,OW,C) with OH = floor(H/size), OW = floor(W/size). Indices: the legend in `epcore/ops/__init__.py`,
    with s = size and p = q = 0.

Derivation:
    Windows do not overlap: x[n,h,k,c] is part of one y, that with i = floor(h/size), j = floor(k/size), times 1/size^2, or of
    none if it lies in the rest:
        dx[n, i*size+u, j*size+v, c] = dy[n,i,j,c] / size^2,        0 in the rest

Saved:
    the shape of x
    A handful of integers.

Cost:
    Every element of every window once forward, once backward, one operation each; the rest is not touched.

Source:
    EfficientPose (Groos et al. 2020), Figure 2: the picture at half the resolution.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape, Window
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


def window(x: Shape, *, size: int = 2) -> Window:
    """Over what the windows cover: nothing is padded."""
    N, OH, OW, C = output_shape(x, size=size)
    return Window((N, OH * size, OW * size, C), (size, size), size)


OP = Op("avg_pool", forward, backward, output_shape, cost, operations=(1, 1), window=window, onnx="AveragePool")
