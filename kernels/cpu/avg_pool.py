"""Average pooling without overlap on the CPU: `epcore.ops.avg_pool` is the definition."""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import kernel
from epcore.ops.avg_pool import output_shape

Shape = tuple[int, ...]


@kernel
def _pool(x: np.ndarray, size: int, y: np.ndarray) -> None:
    N, OH, OW, C = y.shape
    share = np.float32(1 / (size * size))
    for line in prange(N * OH):
        n, i = line // OH, line % OH
        for j in range(OW):
            for c in range(C):
                total = np.float32(0)
                for u in range(size):
                    for v in range(size):
                        total += x[n, i * size + u, j * size + v, c]
                y[n, i, j, c] = total * share


@kernel
def _spread(dy: np.ndarray, size: int, dx: np.ndarray) -> None:
    N, H, W, C = dx.shape
    _, OH, OW, _ = dy.shape
    share = np.float32(1 / (size * size))
    for line in prange(N * H):
        n, h = line // H, line % H
        for k in range(W):
            for c in range(C):
                covered = h < OH * size and k < OW * size
                dx[n, h, k, c] = dy[n, h // size, k // size, c] * share if covered else np.float32(0)


def forward(x: np.ndarray, *, size: int = 2) -> tuple[np.ndarray, tuple[Shape]]:
    """x (N,H,W,C) float32 -> y (N, floor(H/k), floor(W/k), C).

    Raises TypeError or ValueError for what the kernels refuse.
    """
    check("avg_pool", x=x)
    y = empty(output_shape(x.shape, size=size))
    _pool(x, size, y)
    return y, (x.shape,)


def backward(dy: np.ndarray, saved: tuple[Shape], *, size: int = 2) -> tuple[np.ndarray]:
    (shape,) = saved
    check_gradient("avg_pool", dy, output_shape(shape, size=size))
    dx = empty(shape)
    _spread(dy, size, dx)
    return (dx,)
