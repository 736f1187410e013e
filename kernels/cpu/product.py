"""Dense products for the CPU kernels: every convolution is y[pixel] = sum over kernel rows of x[window] @ w.

In NHWC the kw * Cin inputs under one kernel row are contiguous, so a kernel row is one matrix product whose left rows
start stride * Cin apart; a 1x1 convolution has one kernel row of Cin inputs. Nothing is unrolled to columns.

The left side is read in place, TILE_ROWS pixels at a time; the right side is packed first into panels of one to three
vectors, so that the innermost loop streams it. Sums stay in registers (`simd.outer`) over the whole reduction, in one
fixed order whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import empty
from epcore.kernels.cpu.caches import caches
from epcore.kernels.cpu.jit import inlined, kernel
from epcore.kernels.cpu.panels import Panels, by_width, cut, pack, place, vectors_before
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.reduction import merge
from epcore.kernels.cpu.simd import load_block, outer, prefetch, repeat, splat, store_block, store_tile

_SEGMENT = 8 * TILE_ROWS  # output pixels of one task of `convolve`
_GROUP = 4 * TILE_ROWS  # rows of dw of one task of `_products`
_AHEAD = 16  # pixels of x and dy that are asked for before they are needed
_RUN = 64  # pixels summed in one chain: K / 4 epsilons where a flat area rounds every addition the same way, 2 sqrt(K) at most


class Windows(NamedTuple):
    """What all tiles of a convolution share: elements from one window to the next, from a kernel row to the next, kernel
    rows, numbers under each of them, elements of y from one pixel to the next, and whether x is read ahead."""

    pixel_step: int
    row_step: int
    rows: int
    depth: int
    to_step: int
    ahead: bool


class Lines(NamedTuple):
    """The lines of y: how many in all and in an image, pixels of each; elements from image to image and from line to line of
    their windows in x, and of themselves in y."""

    all: int
    rows: int
    pixels: int
    x_image: int
    x_row: int
    y_image: int
    y_row: int


class Line(NamedTuple):
    """Pixels `begin` to before `end` of one line of y: where the first window of the line starts in x, and the line in y."""

    x: int
    y: int
    begin: int
    end: int


class Columns(NamedTuple):
    """One panel: where its packed weights are, its first column, and columns between its vectors."""

    weights: int
    first: int
    step: int


def _panel(width: int) -> Callable[..., None]:
    """The loop over one line of pixels and one panel of `width` vectors."""
    ROW, ROWS = LANES * width, TILE_ROWS

    @inlined
    def run(x, packed, bias, y, windows, line, columns):  # type: ignore[no-untyped-def]
        row = load_block(bias, columns.first, columns.step, width)
        pixel = line.begin
        while pixel < line.end:
            if line.end - line.begin >= ROWS:
                pixel = min(pixel, line.end - ROWS)  # the last tile overlaps the one before it
                tile = repeat(row, ROWS)
                for u in range(windows.rows):
                    a = line.x + u * windows.row_step + pixel * windows.pixel_step
                    q = columns.weights + u * windows.depth * ROW
                    if windows.ahead and columns.weights == 0:  # the first panel asks for the pixels of the next tile
                        for k in range(windows.depth):
                            if k & (LANES - 1) == 0:
                                prefetch(x, a + ROWS * windows.pixel_step + k, windows.pixel_step, ROWS)
                            tile = outer(tile, x, a + k, windows.pixel_step, load_block(packed, q + k * ROW, LANES, width))
                        continue
                    for k in range(windows.depth):
                        tile = outer(tile, x, a + k, windows.pixel_step, load_block(packed, q + k * ROW, LANES, width))
                store_tile(y, line.y + pixel * windows.to_step + columns.first, windows.to_step, columns.step, tile, width)
                pixel += ROWS
            else:
                one = row
                for u in range(windows.rows):
                    a = line.x + u * windows.row_step + pixel * windows.pixel_step
                    q = columns.weights + u * windows.depth * ROW
                    for k in range(windows.depth):
                        one = outer(one, x, a + k, windows.pixel_step, load_block(packed, q + k * ROW, LANES, width))
                store_tile(y, line.y + pixel * windows.to_step + columns.first, windows.to_step, columns.step, one, width)
                pixel += 1

    return run


_run_panel = by_width(_panel)


@kernel
def _convolve(
    x: np.ndarray,
    packed: np.ndarray,
    panels: Panels,
    bias: np.ndarray,
    windows: Windows,
    lines: Lines,
    starts: np.ndarray,
    y: np.ndarray,
) -> None:
    """starts (phases, 2): for each set of weights, where its first window and its first output pixel lie. A task computes all
    phases of its pixels, while they are in the cache."""
    segments = (lines.pixels + _SEGMENT - 1) // _SEGMENT
    size = packed.size // len(starts)
    for task in prange(lines.all * segments):
        number = task // segments
        n = number // lines.rows
        row = number - n * lines.rows
        begin = (task - number * segments) * _SEGMENT
        end = min(begin + _SEGMENT, lines.pixels)
        for phase in range(len(starts)):
            start = starts[phase, 0] + n * lines.x_image + row * lines.x_row
            line = Line(start, starts[phase, 1] + n * lines.y_image + row * lines.y_row, begin, end)
            for p in range(panels.full + panels.rest):
                first, step, width = place(panels, p)
                weights = phase * size + windows.rows * windows.depth * LANES * vectors_before(panels, p)
                _run_panel(width, (x, packed, bias, y, windows, line, Columns(weights, first, step)))


_ONE_PHASE = np.zeros((1, 2), np.int64)


def convolve(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, stride: int, y: np.ndarray) -> None:
    """y (N,OH,OW,Cout) = bias + convolution of x with w (kh,kw,Cin,Cout), windows starting `stride` apart inside x.

    x already holds its padding: H >= (OH - 1) * stride + kh and so for W. Cout must be at least LANES.
    """
    panels = cut(w.shape[3])
    packed = pack(w.reshape(-1, w.shape[3]), panels)
    if bias is None:
        bias = np.zeros(w.shape[3], np.float32)
    kh, kw, channels, columns = w.shape
    if kh == kw == stride == 1:  # rows need not be told apart
        x, y = x.reshape(1, 1, -1, channels), y.reshape(1, 1, -1, columns)
    N, OH, OW, _ = y.shape
    row = x.shape[2] * channels
    windows = Windows(stride * channels, row, kh, kw * channels, columns, kh == 1 and x.nbytes > caches().second)
    lines = Lines(N * OH, OH, OW, x.shape[1] * row, stride * row, OH * OW * columns, OW * columns)
    _convolve(x, packed, panels, bias, windows, lines, _ONE_PHASE, y)


def convolve_phases(x: np.ndarray, w: np.ndarray, at: Sequence[Sequence[int]], y: np.ndarray) -> None:
    """y[:, f::s, g::s] = the convolution of x with w[f, g], windows starting one pixel apart from (at[0][f], at[1][g]) on.

    w (s,s,kh,kw,Cin,Cout), y (N, rows * s, columns * s, Cout); x holds its padding. Cout must be at least LANES.
    """
    stride, _, kh, kw, channels, Cout = w.shape
    panels = cut(Cout)
    packed = np.concatenate([pack(each, panels) for each in w.reshape(stride * stride, -1, Cout)])
    N, H, W, _ = y.shape
    row, out = x.shape[2] * channels, W * Cout
    windows = Windows(channels, row, kh, kw * channels, stride * Cout, False)
    lines = Lines(N * H // stride, H // stride, W // stride, x.shape[1] * row, row, H * out, stride * out)
    pixels = [(i * row + j * channels, f * out + g * Cout) for f, i in enumerate(at[0]) for g, j in enumerate(at[1])]
    _convolve(x, packed, panels, np.zeros(Cout, np.float32), windows, lines, np.array(pixels, np.int64), y)


class Group(NamedTuple):
    """Tiles of dw that read the same lines of the cache: part of the sum, kernel row, the numbers under it; the lines of dy
    that the part sums; whether the first tile asks for what the next pixels need, the rows of all of them and its columns."""

    part: int
    u: int
    k_from: int
    k_to: int
    lines_from: int
    lines_to: int
    ahead: bool


def _rank(width: int) -> Callable[..., None]:
    """The loop over all pixels of some image lines for the tiles of a group: TILE_ROWS rows and `width` vectors each.

    Runs of pixels, a part of a line or a few lines, are summed in registers, and their sums in `totals`, of this task alone.
    All tiles sum a run before the next one begins: what the first has read is in the nearest cache for the others.
    """
    SUMS, LINES = TILE_ROWS * width, _GROUP // LANES

    @inlined
    def run(x, dy, partial, totals, stride, group, columns):  # type: ignore[no-untyped-def]
        _, H, W, C = x.shape
        _, OH, OW, channels = dy.shape
        _, kernel_rows, depth, _ = partial.shape
        lines = max(_RUN // OW, 1)
        totals[:] = 0.0
        for run_from in range(group.lines_from, group.lines_to, lines):
            for begin in range(0, OW, _RUN):
                for row in range(group.k_from, group.k_to, TILE_ROWS):
                    ahead = group.ahead and row == group.k_from
                    sums = splat(0.0, SUMS)
                    for line in range(run_from, min(run_from + lines, group.lines_to)):
                        n = line // OH
                        a = ((n * H + (line - n * OH) * stride + group.u) * W) * C + min(row, depth - TILE_ROWS)
                        b = line * OW * channels + columns.first
                        for ox in range(begin, min(begin + _RUN, OW)):
                            if ahead:
                                prefetch(x, a + (ox + _AHEAD) * stride * C, LANES, LINES)
                                prefetch(dy, b + (ox + _AHEAD) * channels, columns.step, width)
                            gradients = load_block(dy, b + ox * channels, columns.step, width)
                            sums = outer(sums, x, a + ox * stride * C, 1, gradients)
                    total = (row - group.k_from) * width * LANES
                    store_block(totals, total, LANES, sums + load_block(totals, total, LANES, SUMS))
        first = ((group.part * kernel_rows + group.u) * depth) * channels + columns.first
        for row in range(group.k_from, group.k_to, TILE_ROWS):
            tile = load_block(totals, (row - group.k_from) * width * LANES, LANES, SUMS)
            store_tile(partial, first + min(row, depth - TILE_ROWS) * channels, channels, columns.step, tile, width)

    return run


_run_rank = by_width(_rank)


@kernel
def _products(x: np.ndarray, dy: np.ndarray, panels: Panels, stride: int, partial: np.ndarray, large: bool) -> None:
    """partial (P, kh, kw * Cin, Cout): over the P-th part of the lines of dy, the sum of window^T @ dy.

    Tiles that overlap write the same values twice. large: the maps are not in the cache.
    """
    parts, kernel_rows, depth, _ = partial.shape
    lines = dy.shape[0] * dy.shape[1]
    groups = (depth + _GROUP - 1) // _GROUP
    for task in prange(parts * kernel_rows * groups):
        part = task // (kernel_rows * groups)
        u = task // groups % kernel_rows
        k_from = task % groups * _GROUP
        lines_from, lines_to = part * lines // parts, (part + 1) * lines // parts
        group = Group(part, u, k_from, min(k_from + _GROUP, depth), lines_from, lines_to, large)
        totals = np.empty(_GROUP * 3 * LANES, np.float32)
        for p in range(panels.full + panels.rest):
            first, step, width = place(panels, p)
            _run_rank(width, (x, dy, partial, totals, stride, group, Columns(0, first, step)))


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
    _products(x, dy, cut(columns), stride, partial, x.nbytes + dy.nbytes > caches().second)
    if parts == 1:
        return partial.reshape(shape)
    dw = empty(shape)
    merge(partial.reshape(parts, -1), dw.ravel())
    return dw
