"""Depthwise convolution on the GPU; equations and contract: `epcore.ops.depthwise_conv2d`. 3x3 and 5x5, stride 1 and 2."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda import launch as grids
from epcore.kernels.cuda.launch import (
    FILL,
    LINEAR,
    Activation,
    Layout,
    ceil_div,
    check,
    check_axes,
    check_shape,
    empty,
    launch,
    width,
)
from epcore.kernels.cuda.loader import Source
from epcore.ops.depthwise_conv2d import output_shape
from epcore.shapes import Window

# (filter, stride) -> columns a thread computes: as many as registers allow; few where that would leave the GPU half empty
WIDE = {(3, 1): 4, (5, 1): 8, (3, 2): 2, (5, 2): 2}
NARROW = {(3, 1): 2, (5, 1): 2, (3, 2): 2, (5, 2): 2}
BUSY = 2**17  # threads below which a GPU is half empty

ACTIVATIONS = (0, 1, 2, 3)  # of common.cuh: each a kernel of its own, so that a convolution alone carries no code of theirs

SOURCE = Source(
    "depthwise_conv2d",
    (
        *(f"depthwise_forward<{{T}},{{V}},{K},{S},{TW},{kind}>" for (K, S), TW in NARROW.items() for kind in ACTIVATIONS),
        *(f"depthwise_backward_data<{{T}},{{V}},{K},{S},{TW}>" for (K, S), TW in NARROW.items()),
        *(f"depthwise_backward_filter<{{T}},{K},{S}>" for K, S in WIDE),
        "depthwise_merge<{T}>",
    ),
    (
        *(f"depthwise_forward<float,4,{K},{S},{TW},{kind}>" for (K, S), TW in WIDE.items() for kind in ACTIVATIONS),
        *(f"depthwise_backward_data<float,4,{K},{S},{TW}>" for (K, S), TW in WIDE.items()),
    ),
)  # fmt: skip


def forward(x: Array, w: Array, *, stride: int = 1) -> tuple[Array, tuple[Array, Array]]:
    return fused(x, w, None, stride=stride), (x, w)


def fused(x: Array, w: Array, bias: Array | None, *, stride: int = 1, activation: Activation = LINEAR) -> Array:
    """activation(conv(x, w) + bias) in one kernel; bias (C,) or None."""
    T = check("depthwise_conv2d", x=x, w=w, bias=bias)
    K = _filter_size(x, w, stride)
    y = empty(output_shape(x.shape, w.shape, stride=stride), x)
    N, H, W, C = x.shape
    _, OH, OW, _ = y.shape
    if bias is not None:
        check_shape("depthwise_conv2d", "bias", bias, (C,))
    V = width(C, x, w, bias, y)
    TW = _columns(K, stride, y.size, V)
    layout, tiles = _layout(N, OH, OW, C, V, TW)
    top, left = Window(x.shape, (K, K), stride).start
    kind, parameter = activation
    launch(
        SOURCE, T, f"depthwise_forward<{T},{V},{K},{stride},{TW},{kind}>", layout,
        x, w, bias, y, x.dtype.type(parameter), H, W, C, OH, OW, top, left, tiles,
    )  # fmt: skip
    return y


def backward(
    dy: Array, saved: tuple[Array, Array], *, stride: int = 1, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None]:
    x, w = saved
    T = check("depthwise_conv2d", dy=dy, x=x, w=w)
    K = _filter_size(x, w, stride)
    check_shape("depthwise_conv2d", "dy", dy, output_shape(x.shape, w.shape, stride=stride))
    need_x, need_w = needs or (True, True)
    N, H, W, C = x.shape
    _, OH, OW, _ = dy.shape
    top, left = Window(x.shape, (K, K), stride).start
    dx = dw = None
    if need_x:
        dx = empty(x.shape, x)
        V = width(C, dy, w, dx)
        TW = _columns(K, stride, x.size, V)
        layout, tiles = _layout(N, H, W + left % stride, C, V, TW)
        kernel = f"depthwise_backward_data<{T},{V},{K},{stride},{TW}>"
        launch(SOURCE, T, kernel, layout, dy, w, dx, H, W, C, OH, OW, top, left, tiles)
    if need_w:
        dw = empty(w.shape, w)
        across, rows = _filter_block(C)
        tiles = ceil_div(C, across)
        per_slice = max(rows, ceil_div(N * OH * tiles, 2 * FILL))
        count = ceil_div(N * OH, per_slice)
        partial = empty((count, *w.shape), x, np.float64)
        kernel = f"depthwise_backward_filter<{T},{K},{stride}>"
        layout = (tiles, count), (across, rows)
        launch(SOURCE, T, kernel, layout, x, dy, partial, N * OH, per_slice, H, W, C, OH, OW, top, left)
        launch(SOURCE, T, f"depthwise_merge<{T}>", grids.merge(w.size), partial, dw, count, w.size)
    return dx, dw


def _filter_size(x: Array, w: Array, stride: int) -> int:
    """The filter's side. Raises ValueError for what the kernels do not cover."""
    check_axes("depthwise_conv2d", "x", x)
    output_shape(x.shape, w.shape, stride=stride)
    K: int = w.shape[0]
    if w.shape[1] != K or (K, stride) not in WIDE:
        raise ValueError(
            f"depthwise_conv2d: w {w.shape} with stride {stride}: the CUDA kernels take 3x3 and 5x5, stride 1 or 2"
        )
    return K


def _columns(K: int, stride: int, elements: int, V: int) -> int:
    """Columns a thread computes."""
    wide = WIDE[K, stride]
    return wide if V == 4 and elements // (V * wide) >= BUSY else NARROW[K, stride]


def _filter_block(C: int) -> tuple[int, int]:
    """Channels and rows of a block: the largest divisor of C that a warp has room for, so that no lane is idle."""
    across = next(n for n in range(min(32, C), 0, -1) if C % n == 0)
    if across < min(8, C):  # C has a large prime factor
        across = min(32, C)
    return across, grids.THREADS // across


def _layout(N: int, H: int, W: int, C: int, V: int, TW: int) -> tuple[Layout, int]:
    """Blocks of (channel packs, column tiles, rows) over an output, and the number of channel tiles.

    Packs: the largest divisor of C / V up to 16 (32 where single channels are loaded), so that no thread is idle.
    """
    packs, limit = C // V, 16 if V == 4 else 32
    px = next(n for n in range(min(limit, packs), 0, -1) if packs % n == 0)
    if px < min(4, packs):
        px = min(limit, packs)  # a prime number of packs
    py = min(4, ceil_div(W, TW))
    pz = max(1, min(grids.THREADS // (px * py), 8, H))
    tiles = ceil_div(packs, px)
    return ((tiles * ceil_div(W, py * TW), ceil_div(H, pz), N), (px, py, pz)), tiles
