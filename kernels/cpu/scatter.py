"""Dense products that spread x over a larger y: the transposed convolution, and the gradient of a strided convolution's input.

    y[i * s + u - p, j * s + v - q] += x[i, j] @ w[u, v]

The pixels of y whose row is f and whose column is g modulo s meet the same taps, u = f + p and v = g + q modulo s. For each
phase (f, g) that is a plain convolution of x with these taps, last one first, written into every s-th pixel of y: nothing is
multiplied with the zeros between pixels, and nothing is shuffled. Where y has fewer channels than a vector most lanes would be
computed for nobody: there all phases are channels of one convolution, with zero weights where a phase does not look.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import empty, pad, widen
from epcore.kernels.cpu.jit import kernel
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.product import convolve, convolve_phases


def scatter_products(x: np.ndarray, w: np.ndarray, stride: int, start: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """y (N,H,W,Cout) as above, from x (N,h,w,Cin), w (kh,kw,Cin,Cout), start (p, q) and size (H, W), all float32.

    H and W are at most h * stride and w * stride; what falls outside is dropped.
    """
    kh, kw, C, Cout = w.shape
    taps = [-(-k // stride) for k in (kh, kw)]  # of a phase
    if kh % stride or kw % stride:
        w = np.pad(w, ((0, -kh % stride), (0, -kw % stride), (0, 0), (0, 0)))
    w = w.reshape(taps[0], stride, taps[1], stride, C, Cout)[::-1, :, ::-1]  # tap s * t + u of a phase meets x[i - t]
    order, first = zip(*(_phases(k, stride, crop) for k, crop in zip(taps, start, strict=True)), strict=True)
    before = [-min(each) for each in first]
    after = [max(each) + k - 1 for each, k in zip(first, taps, strict=True)]
    rows, columns = ((max(0, a), max(0, b)) for a, b in zip(before, after, strict=True))
    padded = pad(x, rows, columns)
    at = [[pixel + margin[0] for pixel in each] for each, margin in zip(first, (rows, columns), strict=True)]
    weights = w.transpose(1, 3, 0, 2, 4, 5)[np.ix_(*order)]  # (f, g, taps, taps, Cin, Cout)
    y = empty((x.shape[0], x.shape[1] * stride, x.shape[2] * stride, Cout))
    if Cout < LANES:
        _together(padded, weights, at, stride, y)
    else:
        convolve_phases(padded, weights, at, y)
    return y if y.shape[1:3] == size else np.ascontiguousarray(y[:, : size[0], : size[1]])


def _phases(taps: int, stride: int, start: int) -> tuple[list[int], list[int]]:
    """Along one axis, for each phase f: its smallest tap, and the pixel of x that its largest meets for y's first one."""
    order = [(f + start) % stride for f in range(stride)]
    return order, [(f + start - u) // stride - (taps - 1) for f, u in enumerate(order)]


def _together(padded: np.ndarray, weights: np.ndarray, at: list[list[int]], stride: int, y: np.ndarray) -> None:
    """All phases as channels of one convolution, then each to its place."""
    _, _, kh, kw, C, Cout = weights.shape
    size = [max(each) + k for each, k in zip(at, (kh, kw), strict=True)]  # one of them starts at 0
    joined = np.zeros((*size, C, stride, stride, Cout), np.float32)
    for f, u in enumerate(at[0]):
        for g, v in enumerate(at[1]):
            joined[u : u + kh, v : v + kw, :, f, g] = weights[f, g]
    lines, pixels = y.shape[0] * y.shape[1], y.shape[2] // stride
    wide = empty((y.shape[0], y.shape[1] // stride, pixels, max(stride * stride * Cout, LANES)))
    convolve(padded, widen(joined.reshape(*size, C, -1)), None, 1, wide)
    _shuffle(wide.reshape(lines // stride, pixels, -1), stride, y.reshape(lines, pixels, -1))


@kernel
def _shuffle(wide: np.ndarray, stride: int, y: np.ndarray) -> None:
    """y[s * i + f, j] = wide[i, j, f * C :][: C], C the numbers of s pixels side by side."""
    lines, pixels, C = y.shape
    for line in prange(lines):
        i = line // stride
        first = (line - i * stride) * C
        for j in range(pixels):
            for c in range(C):
                y[line, j, c] = wide[i, j, first + c]
