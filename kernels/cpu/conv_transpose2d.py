"""Transposed convolution on the CPU: `epcore.ops.conv_transpose2d` is the definition.

The released upscaling kernels are exactly diagonal: such weights are found here and run one channel at a time, as the
backward-data of a depthwise convolution. Dense weights: an output pixel (s*i + f, s*j + g) meets at most ceil(k/s)^2 input
pixels, so all s*s phases (f, g) together are one convolution over x with s*s*Cout output channels, shuffled into place.
Backward data is a convolution of dy with stride s.
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty, narrow, widen
from epcore.kernels.cpu.depthwise_conv2d import correlate, scatter
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.product import convolve, weight_gradient
from epcore.kernels.cpu.reduction import column_sums, scale
from epcore.ops.conv_transpose2d import output_shape
from epcore.shapes import transposed_crop

Saved = tuple[np.ndarray, np.ndarray, bool]


def diagonal(w: np.ndarray) -> np.ndarray | None:
    """w (kh,kw,Cout,Cin) -> its diagonal (kh,kw,C) if w is square in both pairs and zero everywhere else, or None."""
    kh, kw, rows, columns = w.shape
    if rows != columns or kh != kw:
        return None
    taps = np.ascontiguousarray(w.diagonal(axis1=2, axis2=3))
    return taps if np.count_nonzero(w) == np.count_nonzero(taps) else None


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, stride: int = 2) -> tuple[np.ndarray, Saved]:
    """x (N,H,W,Cin), w (kh,kw,Cout,Cin), b (Cout,) or None, float32 -> y (N, H*s, W*s, Cout).

    Raises TypeError or ValueError for what the kernels refuse.
    """
    check("conv_transpose2d", x=x, w=w, b=b)
    shape = output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride)
    taps = diagonal(w)
    if taps is None:
        y = _dense(x, w, stride)
    else:
        wide = empty((*shape[:3], max(shape[3], LANES)))
        crop = transposed_crop(w.shape[0], stride)
        scatter(widen(x), widen(taps), wide, stride, crop, crop)
        y = narrow(wide, shape[3])
    if b is not None and b.any():
        flat = y.reshape(1, -1, 1, shape[3])
        scale(flat, np.ones_like(b)[None], b[None], flat)
    return y, (x, w, b is not None)


def _dense(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """Phase f of the rows takes kernel row u = s*t + u0 from input row i + offset - t: one window row for each of these
    input rows, the same for all phases, with zero weights where a phase does not look."""
    N, H, W, _ = x.shape
    kh, kw, Cout, C = w.shape
    (before_y, rows), (before_x, columns) = (_window(k, stride) for k in (kh, kw))
    weights = np.zeros((rows, columns, C, stride, stride, Cout), np.float32)
    for u in range(kh):
        f, row = _place(u, kh, stride, before_y)
        for v in range(kw):
            g, column = _place(v, kw, stride, before_x)
            weights[row, column, :, f, g] = w[u, v].T
    padded = np.pad(x, ((0, 0), (before_y, rows - 1 - before_y), (before_x, columns - 1 - before_x), (0, 0)))
    phases = empty((N, H, W, max(stride * stride * Cout, LANES)))
    convolve(padded, widen(weights.reshape(rows, columns, C, -1)), None, 1, phases)
    shuffled = phases[..., : stride * stride * Cout].reshape(N, H, W, stride, stride, Cout).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(shuffled).reshape(N, H * stride, W * stride, Cout)


def _place(u: int, size: int, stride: int, before: int) -> tuple[int, int]:
    """Kernel row u takes input row i to output row s*i + u - crop = s*(i + shift) + phase -> (phase, row of the window)."""
    shift, phase = divmod(u - transposed_crop(size, stride), stride)
    return phase, before - shift


def _window(size: int, stride: int) -> tuple[int, int]:
    """Input rows that one output row's phases look at: (how many before its own, how many in all)."""
    shifts = [(u - transposed_crop(size, stride)) // stride for u in range(size)]
    before, after = max(0, *shifts), max(0, *(-shift for shift in shifts))
    return before, before + 1 + after


def backward(
    dy: np.ndarray, saved: Saved, *, stride: int = 2, needs: tuple[bool, ...] | None = None
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy as y -> (dx, dw, db); gradients not in `needs` are None."""
    x, w, has_bias = saved
    check_gradient("conv_transpose2d", dy, output_shape(x.shape, w.shape, stride=stride))
    need_x, need_w, need_b = needs or (True, True, True)
    kh, kw, Cout, C = w.shape
    taps = diagonal(w)
    dx = dw = padded = None
    if need_w or (need_x and taps is None):
        padded = _pad(dy, x.shape, w.shape, stride)
    if need_x:
        wide = empty((*x.shape[:3], max(C, LANES)))
        if padded is None or taps is not None:
            assert taps is not None
            crop = transposed_crop(kh, stride)
            correlate(kh, stride)(widen(dy), widen(taps), wide, crop, crop)
        else:
            convolve(padded, widen(w), None, stride, wide)
        dx = narrow(wide, C)
    if need_w:
        assert padded is not None
        if kw * Cout < TILE_ROWS:
            padded = np.pad(padded, ((0, 0), (0, 0), (0, 0), (0, TILE_ROWS - Cout)))
        full = weight_gradient(padded, widen(x), (kh, kw, padded.shape[3], max(C, LANES)), stride)
        dw = np.ascontiguousarray(full[:, :, :Cout, :C])
    return dx, dw, column_sums(dy) if has_bias and need_b else None


def _pad(dy: np.ndarray, x: tuple[int, ...], w: tuple[int, ...], stride: int) -> np.ndarray:
    """dy with zeros around it, so that pixel (i, j) of x sees the window that starts at (i * s, j * s)."""
    padding = []
    for axis in (0, 1):
        crop = transposed_crop(w[axis], stride)
        padding.append((crop, max(0, (x[axis + 1] - 1) * stride + w[axis] - crop - dy.shape[axis + 1])))
    return np.pad(dy, ((0, 0), *padding, (0, 0)))
