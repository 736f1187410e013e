"""Transposed convolution on the CPU: `epcore.ops.conv_transpose2d` is the definition.

The released upscaling kernels are exactly diagonal: such weights are found here and run one channel at a time, as the
backward-data of a depthwise convolution; dense ones are `scatter`'s products. Backward data is a convolution of dy
with stride s.
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty, narrow, pad, widen
from epcore.kernels.cpu.depthwise_conv2d import correlate, scatter
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.product import convolve, weight_gradient
from epcore.kernels.cpu.reduction import column_sums, scale
from epcore.kernels.cpu.scatter import scatter_products
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
        crops = transposed_crop(w.shape[0], stride), transposed_crop(w.shape[1], stride)
        y = scatter_products(x, w.transpose(0, 1, 3, 2), stride, crops, shape[1:3])
    else:
        wide = empty((*shape[:3], max(shape[3], LANES)))
        crop = transposed_crop(w.shape[0], stride)
        scatter(widen(x), widen(taps), wide, stride, crop, crop)
        y = narrow(wide, shape[3])
    if b is not None and b.any():
        flat = y.reshape(1, -1, 1, shape[3])
        scale(flat, np.ones_like(b)[None], b[None], flat)
    return y, (x, w, b is not None)


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
        spare = TILE_ROWS - Cout if need_w and kw * Cout < TILE_ROWS else 0  # a tile of dw has that many rows
        padded = _pad(dy, x.shape, w.shape, stride, spare)
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


def _pad(dy: np.ndarray, x: tuple[int, ...], w: tuple[int, ...], stride: int, channels: int) -> np.ndarray:
    """dy with more channels and zeros around it, so that pixel (i, j) of x sees the window that starts at (i * s, j * s)."""
    padding = []
    for axis in (0, 1):
        crop = transposed_crop(w[axis], stride)
        padding.append((crop, max(0, (x[axis + 1] - 1) * stride + w[axis] - crop - dy.shape[axis + 1])))
    return pad(dy, *padding)
