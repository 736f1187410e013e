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
def _pool(x: np.ndarray, size: int, stride: int, p: int, q: int, y: np.ndarray, argmax: np.ndarray) -> None:
    _, H, W, C = x.shape
    N, OH, OW, _ = y.shape
    for line in prange(N * OH):
        n, i = line // OH, line % OH
        y[n, i] = -np.inf
        argmax[n, i] = 0
        for u in range(size):
            h = i * stride + u - p
            if 0 <= h < H:
                for v in range(size):
                    for j in range(max(0, (q - v + stride - 1) // stride), min(OW, (W - 1 + q - v) // stride + 1)):
                        k = j * stride + v - q
                        for c in range(C):
                            value = x[n, h, k, c]
                            if value > y[n, i, j, c]:
                                y[n, i, j, c] = value
                                argmax[n, i, j, c] = u * size + v
                            elif np.isnan(value):
                                y[n, i, j, c] = value


@kernel
def _send_back(dy: np.ndarray, argmax: np.ndarray, size: int, stride: int, p: int, q: int, dx: np.ndarray) -> None:
    """Every row of dx gathers from the windows that cover it, in one order."""
    N, H, W, C = dx.shape
    _, OH, OW, _ = dy.shape
    for line in prange(N * H):
        n, h = line // H, line % H
        dx[n, h] = 0.0
        for u in range(size):
            i = (h + p - u) // stride
            if (h + p - u) % stride == 0 and 0 <= i < OH:
                for v in range(size):
                    position = u * size + v
                    for j in range(max(0, (q - v + stride - 1) // stride), min(OW, (W - 1 + q - v) // stride + 1)):
                        k = j * stride + v - q
                        for c in range(C):
                            if argmax[n, i, j, c] == position:
                                dx[n, h, k, c] += dy[n, i, j, c]


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
