"""Dense convolution on the CPU: `epcore.ops.conv2d` is the definition, `product` does the work.

Only kernels larger than 1x1 need a padded copy of their input. Backward data is the same product with the flipped,
transposed weights over dy (spread out by the stride).
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty, narrow, widen
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.product import convolve, weight_gradient
from epcore.kernels.cpu.reduction import column_sums
from epcore.ops.conv2d import output_shape
from epcore.shapes import Window

Saved = tuple[np.ndarray, np.ndarray, bool]


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, stride: int = 1) -> tuple[np.ndarray, Saved]:
    """x (N,H,W,Cin), w (kh,kw,Cin,Cout), b (Cout,) or None, float32 -> y (N, ceil(H/s), ceil(W/s), Cout).

    Raises TypeError or ValueError for what the kernels refuse.
    """
    check("conv2d", x=x, w=w, b=b)
    shape = output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride)
    y = empty((*shape[:3], max(shape[3], LANES)))
    convolve(_pad(x, w, stride), widen(w), None if b is None else widen(b), stride, y)
    return narrow(y, shape[3]), (x, w, b is not None)


def backward(
    dy: np.ndarray, saved: Saved, *, stride: int = 1, needs: tuple[bool, ...] | None = None
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy as y -> (dx, dw, db); gradients not in `needs` are None."""
    x, w, has_bias = saved
    check_gradient("conv2d", dy, output_shape(x.shape, w.shape, stride=stride))
    need_x, need_w, need_b = needs or (True, True, True)
    dx = dw = None
    if need_x:
        flipped = np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))  # (kh,kw,Cout,Cin)
        wide = empty((*x.shape[:3], max(x.shape[3], LANES)))
        convolve(_spread(dy, x.shape, w.shape, stride), widen(flipped), None, 1, wide)
        dx = narrow(wide, x.shape[3])
    if need_w:
        padded, shape = _pad(x, w, stride), w.shape
        if shape[1] * shape[2] < TILE_ROWS:  # a tile of dw has that many rows
            padded = np.pad(padded, ((0, 0), (0, 0), (0, 0), (0, TILE_ROWS - shape[2])))
        wide = weight_gradient(padded, widen(dy), (*shape[:2], padded.shape[3], max(shape[3], LANES)), stride)
        dw = np.ascontiguousarray(wide[:, :, : shape[2], : shape[3]])
    return dx, dw, column_sums(dy) if has_bias and need_b else None


def _pad(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """x with its SAME padding: x itself where there is none."""
    window = Window(x.shape, w.shape[:2], stride)
    if window.padded == x.shape:
        return x
    padded = np.zeros(window.padded, np.float32)
    window.crop(padded)[:] = x
    return padded


def _spread(dy: np.ndarray, x: tuple[int, ...], w: tuple[int, ...], stride: int) -> np.ndarray:
    """dy with stride - 1 zeros between its pixels, padded so that every window of the flipped kernel lies inside."""
    if w[0] == w[1] == stride == 1:
        return dy
    top, left = Window(x, w[:2], stride).start
    padded = np.zeros((x[0], x[1] + w[0] - 1, x[2] + w[1] - 1, dy.shape[3]), np.float32)
    padded[:, w[0] - 1 - top :: stride, w[1] - 1 - left :: stride][:, : dy.shape[1], : dy.shape[2]] = dy
    return padded
