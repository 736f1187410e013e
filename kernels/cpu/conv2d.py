"""Dense convolution on the CPU: `epcore.ops.conv2d` is the definition, `product` does the work.

Only kernels larger than 1x1 need a padded copy of their input. Backward data is the same product with the flipped,
transposed weights over dy; with a stride it is `scatter`'s, phase by phase.
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty, narrow, pad, widen
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.product import convolve, weight_gradient
from epcore.kernels.cpu.reduction import column_sums
from epcore.kernels.cpu.scatter import scatter_products
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
        dx = _data_gradient(dy, x.shape, w, stride)
    if need_w:
        padded, shape = _pad(x, w, stride), w.shape
        if shape[1] * shape[2] < TILE_ROWS:  # a tile of dw has that many rows
            padded = np.pad(padded, ((0, 0), (0, 0), (0, 0), (0, TILE_ROWS - shape[2])))
        wide = weight_gradient(padded, widen(dy), (*shape[:2], padded.shape[3], max(shape[3], LANES)), stride)
        dw = np.ascontiguousarray(wide[:, :, : shape[2], : shape[3]])
    return dx, dw, column_sums(dy) if has_bias and need_b else None


def _pad(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """x with its SAME padding: x itself where there is none."""
    _, rows, columns, _ = Window(x.shape, w.shape[:2], stride).padding
    return pad(x, rows, columns)


def _data_gradient(dy: np.ndarray, x: tuple[int, ...], w: np.ndarray, stride: int) -> np.ndarray:
    """dx, from dy and the shape of x."""
    start = Window(x, w.shape[:2], stride).start
    if stride > 1:
        return scatter_products(dy, w.transpose(0, 1, 3, 2), stride, start, x[1:3])
    flipped = np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))  # (kh,kw,Cout,Cin)
    wide = empty((*x[:3], max(x[3], LANES)))
    rows, columns = ((k - 1 - before, before) for k, before in zip(w.shape[:2], start, strict=True))
    convolve(pad(dy, rows, columns), widen(flipped), None, 1, wide)
    return narrow(wide, x[3])
