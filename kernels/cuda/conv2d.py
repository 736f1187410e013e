"""Dense convolution on the GPU; equations and contract: `epcore.ops.conv2d`. 1x1 as one product, others over patches.

`data_gradient` and `patch_product` also serve the transposed convolution, whose forward is a convolution's gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda import launch as grids
from epcore.kernels.cuda import loader
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
from epcore.kernels.cuda.pointwise_table import FASTER_WITH_CUBLAS
from epcore.ops.conv2d import output_shape
from epcore.shapes import Window


@dataclass(frozen=True)
class Tile:
    """One of gemm.cuh: pixels and channels that a block computes, its threads; instructions a multiply-add (docs/cuda.md)."""

    name: str
    pixels: int
    channels: int
    threads: int
    cost: float


# Float vectors get all for 1x1 convolutions, WIDE for others; everything else gets SMALL.
SMALL = Tile("Small", 32, 32, 64, 1.40)
WIDE = (Tile("N64", 64, 64, 128, 1.23), Tile("N16", 128, 16, 128, 1.52))
TILES = (
    *WIDE, Tile("N48", 64, 48, 96, 1.28), Tile("N40", 128, 40, 160, 1.29), Tile("N32", 128, 32, 128, 1.29),
    Tile("N24", 128, 24, 96, 1.34),
)  # fmt: skip
STEP = 8  # BK of gemm.cuh
BUSY = 2**14  # threads below which a GPU is half empty: a warp for each of four schedulers of 128 multiprocessors


def _instances(tiles: Sequence[Tile], *kernels: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """kernels: with {} for type, vector width and tile."""
    small = tuple(kernel.format(f"{{T}},{{V}},{SMALL.name}") for kernel in kernels)
    return small, tuple(kernel.format(f"float,4,{tile.name}") for kernel in kernels for tile in tiles)


_USES = "forward<{}>", "backward_data<{}>", "backward_filter<{}>"
_GATED = "forward<{},false>", "forward<{},true>", *_USES[1:]
SOURCE = Source("conv2d", *_instances(WIDE, *(f"conv2d_{use}" for use in _USES)))
POINTWISE = Source("pointwise_conv2d", *_instances(TILES, *(f"pointwise_{use}" for use in _GATED)))
SUMS = Source("column_sum", ("column_sums<{T},{V}>", "column_merge<{T}>"))


def forward(x: Array, w: Array, b: Array | None = None, *, stride: int = 1) -> tuple[Array, tuple[Array, Array, bool]]:
    check("conv2d", x=x, w=w, b=b)
    if is_pointwise(w, stride) and _cublas_is_faster(x, w):
        output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride)
        y = x @ w[0, 0]
        if b is not None:
            y += b
        return y, (x, w, b is not None)
    return fused(x, w, b, stride=stride), (x, w, b is not None)


def fused(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: int = 1,
    activation: Activation = LINEAR,
    gate: Array | None = None,
    residual: Array | None = None,
) -> Array:
    """activation(conv(x * gate, w) + b) + residual in one kernel; gate (N,Cin) and residual (as y) for 1x1 only."""
    T = check("conv2d", x=x, w=w, b=b, gate=gate, residual=residual)
    check_axes("conv2d", "x", x)
    y = empty(output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride), x)
    N, H, W, Cin = x.shape
    Cout = w.shape[3]
    kind, parameter = activation[0], x.dtype.type(activation[1])
    pixels = y.size // Cout
    if is_pointwise(w, stride):
        if gate is not None:
            check_shape("conv2d", "gate", gate, (N, Cin))
        if residual is not None:
            check_shape("conv2d", "residual", residual, y.shape)
        V = _width(Cin, Cout, x, w, b, gate, residual, y)
        tile, layout = _tile(TILES, pixels, Cout, V)
        arguments = x, w, b, residual, gate, y, kind, parameter, pixels, Cin, Cout, H * W
        launch(POINTWISE, T, f"pointwise_forward<{T},{V},{tile},{str(gate is not None).lower()}>", layout, *arguments)
    else:
        if gate is not None or residual is not None:
            raise ValueError(f"conv2d: gate and residual go with 1x1 convolutions of stride 1, w has shape {w.shape}")
        patch_product(x, w, b, y, stride, _padding(x, w, stride), kind, parameter)
    return y


def backward(
    dy: Array, saved: tuple[Array, Array, bool], *, stride: int = 1, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None, Array | None]:
    x, w, has_bias = saved
    T = check("conv2d", dy=dy, x=x, w=w)
    check_shape("conv2d", "dy", dy, output_shape(x.shape, w.shape, stride=stride))
    need_x, need_w, need_b = needs or (True, True, True)
    dx = empty(x.shape, x) if need_x else None
    dw = empty(w.shape, w) if need_w else None
    if is_pointwise(w, stride):
        cublas = _cublas_is_faster(x, w)
        Cin, Cout = w.shape[2:]
        pixels = x.size // Cin
        if dx is not None and cublas:
            dx = dy @ w[0, 0].T
        elif dx is not None:
            V = _width(Cin, Cout, dy, w, dx)
            tile, layout = _tile(TILES, pixels, Cin, V)
            launch(POINTWISE, T, f"pointwise_backward_data<{T},{V},{tile}>", layout, dy, w, dx, pixels, Cin, Cout)
        if dw is not None and cublas:
            dw = (x.reshape(-1, Cin).T @ dy.reshape(-1, Cout)).reshape(w.shape)
        elif dw is not None:
            V = _width(Cin, Cout, x, dy)
            tiles = _split_tiles(TILES, V)
            factors, strides = [(x, Cin), (dy, Cout)], (Cout, 1)
            if min(_instructions(tile, Cout, Cin) for tile in tiles) < min(_instructions(tile, Cin, Cout) for tile in tiles):
                factors, strides = factors[::-1], strides[::-1]
            (a, Ca), (b, Cb) = factors
            tile, layout, per_slice = _split_tile(TILES, Ca, Cb, pixels, V)
            partial = empty((layout[0][2], *w.shape), x, np.float64)
            kernel = f"pointwise_backward_filter<{T},{V},{tile}>"
            launch(POINTWISE, T, kernel, layout, a, b, partial, pixels, per_slice, Ca, Cb, *strides)
            _merge(partial, dw)
    else:
        padding = _padding(x, w, stride)
        if dx is not None:
            data_gradient(dy, w, None, dx, stride, padding)
        if dw is not None:
            filter_gradient(x, dy, dw, stride, padding)
    return dx, dw, bias_gradient(dy) if has_bias and need_b else None


def is_pointwise(w: Array, stride: int) -> bool:
    return w.shape[:2] == (1, 1) and stride == 1


def patch_product(
    x: Array, w: Array, b: Array | None, y: Array, stride: int, padding: tuple[int, int], kind: int, parameter: np.generic
) -> None:
    """y = activation(conv(x, w) + b); w (kh,kw,channels of x, channels of y)."""
    T = check("conv2d", x=x, w=w, b=b, y=y)
    V = _width(x.shape[3], y.shape[3], x, w, b, y)
    tile, layout = _tile(WIDE, y.size // y.shape[3], y.shape[3], V)
    arguments = x, w, b, y, kind, parameter, *_geometry(x, w, y, stride, padding)
    launch(SOURCE, T, f"conv2d_forward<{T},{V},{tile}>", layout, *arguments)


def data_gradient(dy: Array, w: Array, b: Array | None, dx: Array, stride: int, padding: tuple[int, int]) -> None:
    """dx, the gradient of conv's input (+ b); w (kh,kw,channels of dx, channels of dy)."""
    T = check("conv2d", dy=dy, w=w, b=b, dx=dx)
    N, H, W, C = dx.shape
    V = _width(C, dy.shape[3], dy, w, b, dx)
    tile, (grid, block) = _tile(WIDE, N * ceil_div(H, stride) * ceil_div(W, stride), C, V, stride * stride)
    arguments = dy, w, b, dx, *_geometry(dx, w, dy, stride, padding)
    launch(SOURCE, T, f"conv2d_backward_data<{T},{V},{tile}>", ((*grid, stride * stride), block), *arguments)


def filter_gradient(x: Array, dy: Array, dw: Array, stride: int, padding: tuple[int, int]) -> None:
    """dw (kh,kw,channels of x, channels of dy)."""
    T = check("conv2d", x=x, dy=dy, dw=dw)
    kh, kw, Cin, Cout = dw.shape
    V = _width(Cin, Cout, x, dy)
    tile, layout, per_slice = _split_tile(WIDE, kh * kw * Cin, Cout, dy.size // Cout, V)
    partial = empty((layout[0][2], *dw.shape), x, np.float64)
    arguments = x, dy, partial, per_slice, *_geometry(x, dw, dy, stride, padding)
    launch(SOURCE, T, f"conv2d_backward_filter<{T},{V},{tile}>", layout, *arguments)
    _merge(partial, dw)


def bias_gradient(dy: Array) -> Array:
    """Sum of dy over everything but channels."""
    T = check("conv2d", dy=dy)
    C = dy.shape[-1]
    V = width(C, dy)
    layout, per_slice = grids.slices(dy.size // C, C, V)
    partial = empty((layout[0][1], C), dy, np.float64)
    launch(SUMS, T, f"column_sums<{T},{V}>", layout, dy, partial, dy.size // C, per_slice, C)
    db = empty((C,), dy)
    _merge(partial, db)
    return db


def _merge(partial: Array, out: Array) -> None:
    """out = the sum of partial over its first axis, in order, in double."""
    T = check("conv2d", out=out)
    launch(SUMS, T, f"column_merge<{T}>", grids.merge(out.size), partial, out, partial.shape[0], out.size)


def _padding(x: Array, w: Array, stride: int) -> tuple[int, int]:
    return Window(x.shape, w.shape[:2], stride).start


def _geometry(x: Array, w: Array, y: Array, stride: int, padding: tuple[int, int]) -> tuple[int, ...]:
    """N, H, W, Cin, OH, OW, Cout, kh, kw, stride, top, left, in the kernels' order."""
    return *x.shape, *y.shape[1:], *w.shape[:2], stride, *padding


def _width(Cin: int, Cout: int, *arrays: Array | None) -> int:
    return width(Cin if Cin % 4 else Cout, *arrays)


def _tile(tiles: Sequence[Tile], M: int, N: int, V: int, classes: int = 1) -> tuple[str, Layout]:
    """The tile for an M x N product, and its grid: that which throws away least, small where the GPU would not fill."""
    tile = SMALL
    if V == 4:
        best = _best(tiles, M, N)
        if _blocks(best, M, N) * best.threads * classes >= BUSY:
            tile = best
    return tile.name, ((ceil_div(M, tile.pixels), ceil_div(N, tile.channels)), (tile.threads,))


def _split_tile(tiles: Sequence[Tile], M: int, N: int, K: int, V: int) -> tuple[str, Layout, int]:
    """The tile for an M x N product over a long k, its grid with the slices of k along axis 2, and k a slice."""
    tile = _best(_split_tiles(tiles, V), M, N)
    wanted = min(max(FILL // _blocks(tile, M, N), 1), ceil_div(K, 16 * STEP))
    per_slice = ceil_div(ceil_div(K, wanted), STEP) * STEP
    grid = ceil_div(M, tile.pixels), ceil_div(N, tile.channels), ceil_div(K, per_slice)
    return tile.name, (grid, (tile.threads,)), per_slice


def _split_tiles(tiles: Sequence[Tile], V: int) -> Sequence[Tile]:
    """Slices of k fill the GPU, whatever the tile."""
    return (*tiles, SMALL) if V == 4 else (SMALL,)


def _best(tiles: Sequence[Tile], M: int, N: int) -> Tile:
    """The tile that takes the fewest instructions, for what it throws away included."""
    return min(tiles, key=lambda tile: _instructions(tile, M, N))


def _blocks(tile: Tile, M: int, N: int) -> int:
    return ceil_div(M, tile.pixels) * ceil_div(N, tile.channels)


def _instructions(tile: Tile, M: int, N: int) -> float:
    """For one step along k."""
    return _blocks(tile, M, N) * tile.pixels * tile.channels * tile.cost


@cache
def _cublas_shapes(device: int) -> frozenset[tuple[int, int, int]]:
    name = loader.require_cupy().cuda.runtime.getDeviceProperties(device)["name"].decode()
    return FASTER_WITH_CUBLAS.get(name, frozenset())


def _cublas_is_faster(x: Array, w: Array) -> bool:
    """Whether the measured table sends this product to cuBLAS."""
    if not FASTER_WITH_CUBLAS or not loader.on_gpu():
        return False
    return (x.size // x.shape[3], *w.shape[2:]) in _cublas_shapes(loader.current_device())
