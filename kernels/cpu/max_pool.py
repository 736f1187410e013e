"""Max pooling on the CPU: `epcore.ops.max_pool` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import kernel
from epcore.ops.max_pool import output_shape
from epcore.shapes import Window

Shape = tuple[int, ...]


@kernel
def _pool(x: np.ndarray, size: int, stride: int, top: int, left: int, y: np.ndarray, argmax: np.ndarray) -> None:
    _, H, W, C = x.shape
    N, OH, OW, _ = y.shape
    for line in prange(N * OH):
        n, oy = line // OH, line % OH
        y[n, oy] = -np.inf
        argmax[n, oy] = 0
        for u in range(size):
            iy = oy * stride + u - top
            if 0 <= iy < H:
                for v in range(size):
                    for ox in range(max(0, (left - v + stride - 1) // stride), min(OW, (W - 1 + left - v) // stride + 1)):
                        ix = ox * stride + v - left
                        for c in range(C):
                            value = x[n, iy, ix, c]
                            if value > y[n, oy, ox, c]:
                                y[n, oy, ox, c] = value
                                argmax[n, oy, ox, c] = u * size + v
                            elif np.isnan(value):
                                y[n, oy, ox, c] = value


@kernel
def _send_back(dy: np.ndarray, argmax: np.ndarray, size: int, stride: int, top: int, left: int, dx: np.ndarray) -> None:
    """Every row of dx gathers from the windows that cover it, in one order."""
    N, H, W, C = dx.shape
    _, OH, OW, _ = dy.shape
    for line in prange(N * H):
        n, iy = line // H, line % H
        dx[n, iy] = 0.0
        for u in range(size):
            oy = (iy + top - u) // stride
            if (iy + top - u) % stride == 0 and 0 <= oy < OH:
                for v in range(size):
                    position = u * size + v
                    for ox in range(max(0, (left - v + stride - 1) // stride), min(OW, (W - 1 + left - v) // stride + 1)):
                        ix = ox * stride + v - left
                        for c in range(C):
                            if argmax[n, oy, ox, c] == position:
                                dx[n, iy, ix, c] += dy[n, oy, ox, c]


def forward(x: np.ndarray, *, size: int = 2, stride: int = 2) -> tuple[np.ndarray, tuple[np.ndarray, Shape]]:
    """x (N,H,W,C) float32 -> y (N, ceil(H/s), ceil(W/s), C). Raises TypeError or ValueError for what the kernels refuse."""
    check("max_pool", x=x)
    shape = output_shape(x.shape, size=size, stride=stride)
    y, argmax = empty(shape), np.empty(shape, np.uint8)
    _pool(x, size, stride, *Window(x.shape, (size, size), stride).start, y, argmax)
    return y, (argmax, x.shape)


def backward(dy: np.ndarray, saved: tuple[np.ndarray, Shape], *, size: int = 2, stride: int = 2) -> tuple[np.ndarray]:
    argmax, shape = saved
    check_gradient("max_pool", dy, argmax.shape)
    dx = empty(shape)
    _send_back(dy, argmax, size, stride, *Window(shape, (size, size), stride).start, dx)
    return (dx,)
