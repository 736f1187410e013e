"""The Numba rungs of docs/ladder.md: `python docs/examples/ladder/cpu_rungs.py` measures them on this machine.

x, y and dy are (N,H,W,C) float32, w and dw (3,3,C); stride 1, one line of padding on every side. The fifth rung is epcore's
kernel, kernels/cpu/depthwise_conv2d.py.
"""

import time
from collections.abc import Callable

import numpy as np
from numba import njit, prange

from epcore.kernels.cpu import depthwise_conv2d

FAST = {"fastmath": {"contract"}, "error_model": "numpy"}


@njit(**FAST)
def forward_1(x, w, y):
    """The equation as it stands, channel by channel: neighbouring steps are C floats apart in memory."""
    N, H, W, C = x.shape
    for n in range(N):
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    total = np.float32(0)
                    for u in range(3):
                        for v in range(3):
                            h, k = i + u - 1, j + v - 1
                            if 0 <= h < H and 0 <= k < W:
                                total += x[n, h, k, c] * w[u, v, c]
                    y[n, i, j, c] = total


@njit(**FAST)
def forward_2(x, w, y):
    """Channels innermost: memory is walked along, and the compiler makes vectors of neighbouring channels."""
    N, H, W, C = x.shape
    y[:] = 0
    for n in range(N):
        for i in range(H):
            for j in range(W):
                for u in range(max(1 - i, 0), min(3, H + 1 - i)):
                    for v in range(max(1 - j, 0), min(3, W + 1 - j)):
                        for c in range(C):
                            y[n, i, j, c] += x[n, i + u - 1, j + v - 1, c] * w[u, v, c]


@njit(parallel=True, **FAST)
def forward_3(x, w, y):
    """Rows of y shared among the cores: each is written by one of them."""
    N, H, W, C = x.shape
    for task in prange(N * H):
        n, i = task // H, task % H
        y[n, i] = 0
        for j in range(W):
            for u in range(max(1 - i, 0), min(3, H + 1 - i)):
                for v in range(max(1 - j, 0), min(3, W + 1 - j)):
                    for c in range(C):
                        y[n, i, j, c] += x[n, i + u - 1, j + v - 1, c] * w[u, v, c]


@njit(parallel=True, **FAST)
def forward_4(x, w, y):
    """Three taps at once: a sum is loaded and stored once for three products. The first and last column as before."""
    N, H, W, C = x.shape
    for task in prange(N * H):
        n, i = task // H, task % H
        y[n, i] = 0
        for u in range(max(1 - i, 0), min(3, H + 1 - i)):
            row, to = x[n, i + u - 1], y[n, i]
            for j in range(1, W - 1):
                for c in range(C):
                    to[j, c] += row[j - 1, c] * w[u, 0, c] + row[j, c] * w[u, 1, c] + row[j + 1, c] * w[u, 2, c]
            for j in range(0, W, max(W - 1, 1)):
                for v in range(max(1 - j, 0), min(3, W + 1 - j)):
                    for c in range(C):
                        to[j, c] += row[j + v - 1, c] * w[u, v, c]


@njit(**FAST)
def filter_1(x, dy, dw):
    """The equation as it stands, one element of dw after another."""
    N, H, W, C = x.shape
    for u in range(3):
        for v in range(3):
            for c in range(C):
                total = np.float32(0)
                for n in range(N):
                    for i in range(max(1 - u, 0), min(H, H + 1 - u)):
                        for j in range(max(1 - v, 0), min(W, W + 1 - v)):
                            total += x[n, i + u - 1, j + v - 1, c] * dy[n, i, j, c]
                dw[u, v, c] = total


@njit(**FAST)
def filter_2(x, dy, dw):
    """Channels innermost: vectors of sums."""
    N, H, W, C = x.shape
    dw[:] = 0
    for n in range(N):
        for u in range(3):
            for v in range(3):
                for i in range(max(1 - u, 0), min(H, H + 1 - u)):
                    for j in range(max(1 - v, 0), min(W, W + 1 - v)):
                        for c in range(C):
                            dw[u, v, c] += x[n, i + u - 1, j + v - 1, c] * dy[n, i, j, c]


PARTS = 16


@njit(parallel=True, **FAST)
def filter_3(x, dy, dw):
    """The rows in sixteen parts, however many cores there are, each with sums of its own; these are added up in order."""
    N, H, W, C = x.shape
    partial = np.zeros((PARTS, 3, 3, C), np.float32)
    for part in prange(PARTS):
        for task in range(part * N * H // PARTS, (part + 1) * N * H // PARTS):
            n, i = task // H, task % H
            for u in range(max(1 - i, 0), min(3, H + 1 - i)):
                for v in range(3):
                    for j in range(max(1 - v, 0), min(W, W + 1 - v)):
                        for c in range(C):
                            partial[part, u, v, c] += x[n, i + u - 1, j + v - 1, c] * dy[n, i, j, c]
    dw[:] = 0
    for part in range(PARTS):
        dw += partial[part]


@njit(parallel=True, **FAST)
def filter_4(x, dy, dw):
    """Four columns and three taps at once: a sum is loaded and stored once for four products, a pixel once for three taps."""
    N, H, W, C = x.shape
    partial = np.zeros((PARTS, 3, 3, C), np.float32)
    for part in prange(PARTS):
        for task in range(part * N * H // PARTS, (part + 1) * N * H // PARTS):
            n, i = task // H, task % H
            for u in range(max(1 - i, 0), min(3, H + 1 - i)):
                row, g, to = x[n, i + u - 1], dy[n, i], partial[part, u]
                last = max((W - 2) // 4 * 4, 0)
                for j in range(1, last + 1, 4):
                    for c in range(C):
                        a, b, d, e = g[j, c], g[j + 1, c], g[j + 2, c], g[j + 3, c]
                        p, q, r, s, t, z = row[j - 1, c], row[j, c], row[j + 1, c], row[j + 2, c], row[j + 3, c], row[j + 4, c]
                        to[0, c] += p * a + q * b + r * d + s * e
                        to[1, c] += q * a + r * b + s * d + t * e
                        to[2, c] += r * a + s * b + t * d + z * e
                for edge in range(W - last):
                    j = 0 if edge == 0 else last + edge
                    for v in range(max(1 - j, 0), min(3, W + 1 - j)):
                        for c in range(C):
                            to[v, c] += row[j + v - 1, c] * g[j, c]
    dw[:] = 0
    for part in range(PARTS):
        dw += partial[part]


def forward_5(x, w, y):
    """The sums of eight columns and a vector of channels in registers: kernels/cpu/depthwise_conv2d.py."""
    y[:] = depthwise_conv2d.forward(x, w)[0]


def filter_5(x, dy, dw):
    """Three taps by six columns of sums in registers: kernels/cpu/depthwise_conv2d.py."""
    dw[:] = depthwise_conv2d.backward(dy, (x, np.empty_like(dw)), needs=(False, True))[1]


FORWARD: tuple[Callable[..., None], ...] = (forward_1, forward_2, forward_3, forward_4, forward_5)
FILTER: tuple[Callable[..., None], ...] = (filter_1, filter_2, filter_3, filter_4, filter_5)


def milliseconds(rung: Callable[..., None], arguments: tuple[np.ndarray, ...], repeats: int = 100) -> float:
    """The best of some calls; the first one compiles."""
    rung(*arguments)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        rung(*arguments)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


if __name__ == "__main__":
    shape = (1, 112, 112, 64)
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    w = rng.standard_normal((3, 3, 64)).astype(np.float32)
    for rungs, arguments in ((FORWARD, (x, w, np.empty_like(x))), (FILTER, (x, dy, np.empty_like(w)))):
        for rung in rungs:
            print(f"{rung.__name__}: {milliseconds(rung, arguments):.2f} ms")
