"""Dense products for the CPU kernels: every convolution is y[pixel] = sum over kernel rows of x[window] @ w.

In NHWC the kw * Cin inputs under one kernel row are contiguous, so a kernel row is one matrix product whose left rows
start stride * Cin apart; a 1x1 convolution has one kernel row of Cin inputs. Nothing is unrolled to columns.

The left side is read in place, TILE_ROWS pixels at a time; the right side is packed first into panels of one to three
vectors, so that the innermost loop streams it. Sums stay in registers (`simd.outer`) over the whole reduction, in one
fixed order whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import empty
from epcore.kernels.cpu.jit import inlined, kernel, serial_kernel
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.reduction import merge
from epcore.kernels.cpu.simd import load_block, outer, repeat, splat, store_block, store_tile

_SEGMENT = 8 * TILE_ROWS  # output pixels of one task of `convolve`
_GROUP = 4 * TILE_ROWS  # rows of dw of one task of `_products`
_RUN = 64  # pixels summed in one chain: K / 4 epsilons where a flat area rounds every addition the same way, 2 sqrt(K) at most


def split_columns(columns: int) -> np.ndarray:
    """Panels that cover `columns` >= LANES output columns: (P, 3) int64 rows of (first column, step, vectors).

    A panel has one to three vectors, `step` columns apart. Three keep most registers busy, so panels are as wide as they
    can be. At the end the step is below LANES, so that the last vector ends with the last column: a few columns are
    computed twice and none needs a mask.
    """
    panels, first = [], 0
    while first < columns:
        left = columns - first
        vectors = (left + LANES - 1) // LANES
        odd = vectors == 3 and (left - LANES) % 2  # three vectors cannot be spread evenly
        width = 2 if vectors in (2, 4) or odd else min(vectors, 3)
        step = LANES if vectors > width or width == 1 else (left - LANES) // (width - 1)
        if width == 1:
            first = columns - LANES
        panels.append((first, step, width))
        first += width * LANES
    return np.array(panels, np.int64)


@serial_kernel
def _pack(w: np.ndarray, panels: np.ndarray, packed: np.ndarray) -> None:
    """w (depth, columns) -> packed: panel after panel, in each all rows, in each row the panel's vectors."""
    to = 0
    for p in range(len(panels)):
        first, step, width = panels[p]
        for k in range(w.shape[0]):
            for v in range(width):
                for lane in range(LANES):
                    packed[to] = w[k, first + v * step + lane]
                    to += 1


def pack(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (kh, kw, Cin, Cout), Cout >= LANES, -> (packed values, panels), the form `convolve` reads."""
    rows = w.reshape(-1, w.shape[3])
    panels = split_columns(w.shape[3])
    packed = empty((rows.shape[0] * int(panels[:, 2].sum()) * LANES,))
    _pack(rows, panels, packed)
    return packed, panels


def _panel(width: int) -> Callable[..., None]:
    """The loop over one segment of pixels and one panel of `width` vectors."""
    ROW, ROWS = LANES * width, TILE_ROWS

    @inlined
    def run(  # type: ignore[no-untyped-def]
        x, start, pixel_step, kernel_row_step, packed, position, kernel_rows, depth, bias, first, step, y, to, begin, end
    ):
        row = load_block(bias, first, step, width)
        channels = y.shape[3]
        pixel = begin
        while pixel < end:
            if end - begin >= ROWS:
                pixel = min(pixel, end - ROWS)  # the last tile overlaps the one before it
                tile = repeat(row, ROWS)
                for u in range(kernel_rows):
                    a = start + u * kernel_row_step + pixel * pixel_step
                    q = position + u * depth * ROW
                    for k in range(depth):
                        tile = outer(tile, x, a + k, pixel_step, load_block(packed, q + k * ROW, LANES, width))
                store_tile(y, to + pixel * channels + first, channels, step, tile, width)
                pixel += ROWS
            else:
                line = row
                for u in range(kernel_rows):
                    a = start + u * kernel_row_step + pixel * pixel_step
                    q = position + u * depth * ROW
                    for k in range(depth):
                        line = outer(line, x, a + k, pixel_step, load_block(packed, q + k * ROW, LANES, width))
                store_tile(y, to + pixel * channels + first, channels, step, line, width)
                pixel += 1

    return run


_panel_1, _panel_2, _panel_3 = _panel(1), _panel(2), _panel(3)


@kernel
def _convolve(
    x: np.ndarray,
    packed: np.ndarray,
    panels: np.ndarray,
    kernel_rows: int,
    depth: int,
    stride: int,
    bias: np.ndarray,
    y: np.ndarray,
) -> None:
    _, H, W, C = x.shape
    N, OH, OW, _ = y.shape
    segments = (OW + _SEGMENT - 1) // _SEGMENT
    for task in prange(N * OH * segments):
        line = task // segments
        n = line // OH
        begin = (task - line * segments) * _SEGMENT
        end = min(begin + _SEGMENT, OW)
        start = (n * H + (line - n * OH) * stride) * W * C
        to = line * OW * y.shape[3]
        position = 0
        for p in range(len(panels)):
            first, step, width = panels[p]
            if width == 3:
                _panel_3(
                    x, start, stride * C, W * C, packed, position, kernel_rows, depth, bias, first, step, y, to, begin, end
                )
            elif width == 2:
                _panel_2(
                    x, start, stride * C, W * C, packed, position, kernel_rows, depth, bias, first, step, y, to, begin, end
                )
            else:
                _panel_1(
                    x, start, stride * C, W * C, packed, position, kernel_rows, depth, bias, first, step, y, to, begin, end
                )
            position += kernel_rows * depth * LANES * width


def convolve(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, stride: int, y: np.ndarray) -> None:
    """y (N,OH,OW,Cout) = bias + convolution of x with w (kh,kw,Cin,Cout), windows starting `stride` apart inside x.

    x already holds its padding: H >= (OH - 1) * stride + kh and so for W. Cout must be at least LANES.
    """
    packed, panels = pack(w)
    if bias is None:
        bias = np.zeros(w.shape[3], np.float32)
    kh, kw, channels, columns = w.shape
    if kh == kw == stride == 1:  # rows need not be told apart
        x, y = x.reshape(1, 1, -1, channels), y.reshape(1, 1, -1, columns)
    _convolve(x, packed, panels, kh, kw * channels, stride, bias, y)


def _rank(width: int) -> Callable[..., None]:
    """The loop over all pixels of some image lines for one tile of dw: TILE_ROWS rows and `width` vectors.

    Runs of pixels, a part of a line or a few lines, are summed in registers, and their sums in `total`, of this task alone.
    """
    SUMS = TILE_ROWS * width

    @inlined
    def run(x, dy, partial, part, lines_from, lines_to, u, k, stride, first, step, total):  # type: ignore[no-untyped-def]
        _, H, W, C = x.shape
        _, OH, OW, columns = dy.shape
        lines = max(_RUN // OW, 1)
        store_block(total, 0, LANES, splat(0.0, SUMS))
        for run_from in range(lines_from, lines_to, lines):
            for begin in range(0, OW, _RUN):
                tile = splat(0.0, SUMS)
                for line in range(run_from, min(run_from + lines, lines_to)):
                    n = line // OH
                    a = ((n * H + (line - n * OH) * stride + u) * W) * C + k
                    b = line * OW * columns + first
                    for ox in range(begin, min(begin + _RUN, OW)):
                        tile = outer(tile, x, a + ox * stride * C, 1, load_block(dy, b + ox * columns, step, width))
                store_block(total, 0, LANES, tile + load_block(total, 0, LANES, SUMS))
        _, kernel_rows, depth, _ = partial.shape
        to = ((part * kernel_rows + u) * depth + k) * columns + first
        store_tile(partial, to, columns, step, load_block(total, 0, LANES, SUMS), width)

    return run


_rank_1, _rank_2, _rank_3 = _rank(1), _rank(2), _rank(3)


@kernel
def _products(x: np.ndarray, dy: np.ndarray, panels: np.ndarray, stride: int, partial: np.ndarray) -> None:
    """partial (P, kh, kw * Cin, Cout): over the P-th part of the lines of dy, the sum of window^T @ dy.

    Tiles that overlap write the same values twice.
    """
    parts, kernel_rows, depth, _ = partial.shape
    lines = dy.shape[0] * dy.shape[1]
    groups = (depth + _GROUP - 1) // _GROUP
    for task in prange(parts * kernel_rows * groups):
        part = task // (kernel_rows * groups)
        u = task // groups % kernel_rows
        group = task % groups
        lines_from, lines_to = part * lines // parts, (part + 1) * lines // parts
        total = np.empty(3 * TILE_ROWS * LANES, np.float32)
        for p in range(len(panels)):
            first, step, width = panels[p]
            for row in range(group * _GROUP, min((group + 1) * _GROUP, depth), TILE_ROWS):
                k = min(row, depth - TILE_ROWS)
                if width == 3:
                    _rank_3(x, dy, partial, part, lines_from, lines_to, u, k, stride, first, step, total)
                elif width == 2:
                    _rank_2(x, dy, partial, part, lines_from, lines_to, u, k, stride, first, step, total)
                else:
                    _rank_1(x, dy, partial, part, lines_from, lines_to, u, k, stride, first, step, total)


def weight_gradient(x: np.ndarray, dy: np.ndarray, shape: tuple[int, ...], stride: int) -> np.ndarray:
    """dw of `convolve`: x with its padding, dy (N,OH,OW,Cout), shape of w (kh,kw,Cin,Cout) -> dw.

    Cout must be at least LANES and kw * Cin at least TILE_ROWS.
    """
    kh, kw, channels, columns = shape
    depth = kw * channels
    # A part is long enough that writing its sums is cheap beside reading its pixels, and short enough for the L2 cache.
    pixels = max(256, 4 * depth * columns // (depth + columns))
    lines = dy.shape[0] * dy.shape[1]
    parts = max(1, min(lines, prod(dy.shape[:3]) // pixels))
    partial = empty((parts, kh, depth, columns))
    _products(x, dy, split_columns(columns), stride, partial)
    if parts == 1:
        return partial.reshape(shape)
    dw = empty(shape)
    merge(partial.reshape(parts, -1), dw.ravel())
    return dw
