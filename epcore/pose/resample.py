"""uint8 pictures -> other sizes, in one pass over the picture.

Each output value is a weighted sum of a few input values along each axis (`Taps`). A tile of the result takes the rows of the
picture that it needs, adds them up in double, one row for each of its own, and at once adds those up along the columns:
nothing of the picture's size is ever kept but the picture. Tiles are cut by shape, so that bits do not depend on threads; the
plans' crew of threads works on them where it has nothing else to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from epcore.kernels.cpu.crew import LINE, crew, fetch_add, wait
from epcore.kernels.cpu.jit import inlined, released_kernel
from epcore.kernels.cpu.side_by_side import Job, compile_side_by_side
from epcore.threads import get_threads

ROUNDING = 1e-9  # added before truncation: an even grey of 200 stays 200 though the weights sum to 1 - 1e-16
CHUNK = 1 << 14  # values of a tile that are kept in double, as far as its windows allow: they stay in a core's cache
ALONE = 1 << 20  # products below which waking other threads takes longer than they help

_BAND = 8  # rows of a tile; the horizontal pass has a sum for each of them in a register
_TOGETHER = 4  # rows of the picture that are read at once


@dataclass(frozen=True, eq=False)
class Taps:
    """Along one axis: output i is the sum over k of weights[i, k] * input[starts[i] + k].

    starts (target,) int64; weights (target, taps) float64, rows sum to 1; all inputs lie within the axis.
    """

    starts: np.ndarray
    weights: np.ndarray

    @property
    def count(self) -> int:
        return int(self.weights.shape[1])


@lru_cache(maxsize=16)
def taps(size: int, target: int) -> Taps:
    """From `size` to `target` values: where target < size a Gaussian of sigma (size/target - 1)/2, cut at four sigma, then
    linear interpolation, borders mirrored about the centre of the border value."""
    return part_taps(size, size / target, 0.0, target)


def part_taps(size: int, scale: float, start: float, target: int) -> Taps:
    """As `taps`, of a part of the axis: output i covers what lies from start + i * scale to start + (i + 1) * scale.

    0 is the outer edge of the first value, `size` that of the last; the middles of all outputs lie between them.
    """
    centre = start + (np.arange(target) + 0.5) * scale - 0.5
    low = np.clip(np.floor(centre), -1, size - 1).astype(np.int64)
    fraction = (centre - low)[:, None]
    sigma = max(0.0, (scale - 1) / 2)
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    blur = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    blur /= blur.sum()

    count = min(2 * radius + 2, size)  # what the mirror throws back falls within the window: it is as wide as what sticks out
    starts = np.clip(low - radius, 0, size - count)
    weights = np.zeros((target, count))
    output = np.arange(target)[:, None]
    for shift, share in ((0, 1 - fraction), (1, fraction)):
        places = _mirror(low[:, None] + shift + offsets, size) - starts[:, None]
        np.add.at(weights, (output, places), share * blur)
    return Taps(_read_only(starts), _read_only(weights))


def resample(
    picture: np.ndarray,
    size: tuple[int, int],
    levels: np.ndarray | None,
    y: np.ndarray,
    corner: tuple[int, int] = (0, 0),
    *,
    chunk: int = CHUNK,
) -> None:
    """picture (H,W,3) uint8, resized to `size` (height, width) -> y (rows,columns,3), its upper left pixel at `corner`.

    levels (256,3): what y holds of a whole level of each channel, in y's dtype; values are truncated to whole levels, and what
    lies around the resized picture is levels[0]. None: the values themselves, 0..255 (y float64), and no rounding.
    """
    rows, columns = taps(picture.shape[0], size[0]), taps(picture.shape[1], size[1])
    resample_by(picture, rows, columns, levels, y, corner, chunk=chunk)


def resample_by(
    picture: np.ndarray,
    rows: Taps,
    columns: Taps,
    levels: np.ndarray | None,
    y: np.ndarray,
    corner: tuple[int, int] = (0, 0),
    *,
    chunk: int = CHUNK,
) -> None:
    """As `resample`, of the parts of both axes that the taps see, at least one output of each."""
    flat = _read_only(np.ascontiguousarray(picture).reshape(len(picture), -1).view())
    seen = int(columns.starts[-1]) + columns.count - int(columns.starts[0])  # columns of the picture
    span = max(chunk // (3 * _BAND), 4 * columns.count)  # columns of the picture in a tile: windows of neighbours overlap
    tile = max(1, int(span * columns.starts.size / seen))
    tasks = -(-rows.starts.size // _BAND) * -(-columns.starts.size // tile)
    arguments = flat, (rows.starts, rows.weights, corner[0]), (columns.starts, columns.weights, corner[1]), levels, y, tile
    threads = get_threads()
    if threads == 1 or tasks == 1 or rows.starts.size * 3 * seen * rows.count < ALONE:
        _resample(*arguments, np.zeros(2 * LINE, np.int64))
        return
    _resample(*arguments, np.full(2 * LINE, tasks))  # compiled here, not in the crew: one that failed would leave it waiting
    counters = np.zeros(2 * LINE, np.int64)
    crew(threads).share(lambda thread: _resample(*arguments, counters))


def job() -> Job:
    """The kernel for a plan's input, float32."""
    axis, counters = taps(1, 1), np.zeros(1, np.int64)
    picture, levels = (_read_only(np.zeros((1, 3), dtype)) for dtype in (np.uint8, np.float32))
    along = axis.starts, axis.weights, 0
    arguments = picture, along, along, levels, np.zeros((1, 1, 3), np.float32), 1, counters
    return Job.like(_resample, arguments, __name__, compile_kernel.__name__)


def compile_kernel() -> None:
    """For the processes that help to compile."""
    compile_side_by_side([job()])


@inlined
def _add_rows(picture: np.ndarray, start: int, weights: np.ndarray, begin: int, sums: np.ndarray) -> None:
    """sums = the rows of the picture from `start` on, their values from `begin` on, weighted."""
    last, count = picture.shape[0] - 1, weights.size
    for k in range(0, count, _TOGETHER):
        v = weights[k]
        w0 = weights[k + 1] if k + 1 < count else 0.0
        w1 = weights[k + 2] if k + 2 < count else 0.0
        w2 = weights[k + 3] if k + 3 < count else 0.0
        a = picture[start + k, begin : begin + sums.size]
        b = picture[min(start + k + 1, last), begin : begin + sums.size]
        c = picture[min(start + k + 2, last), begin : begin + sums.size]
        d = picture[min(start + k + 3, last), begin : begin + sums.size]
        if k == 0:
            for j in range(sums.size):
                sums[j] = v * a[j] + w0 * b[j] + w1 * c[j] + w2 * d[j]
        else:
            for j in range(sums.size):
                sums[j] += v * a[j] + w0 * b[j] + w1 * c[j] + w2 * d[j]


@inlined
def _add_columns(sums: np.ndarray, first: int, weights: np.ndarray, values: np.ndarray) -> None:
    """values (_BAND,) = every third of each row of sums from `first` on, weighted: one channel."""
    a = b = c = d = e = f = g = h = 0.0
    at = first
    for k in range(weights.size):
        w = weights[k]
        a += w * sums[0, at]
        b += w * sums[1, at]
        c += w * sums[2, at]
        d += w * sums[3, at]
        e += w * sums[4, at]
        f += w * sums[5, at]
        g += w * sums[6, at]
        h += w * sums[7, at]
        at += 3
    values[0], values[1], values[2], values[3] = a, b, c, d
    values[4], values[5], values[6], values[7] = e, f, g, h


@inlined
def _fill(y: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], levels: np.ndarray) -> None:
    """Black."""
    for i in range(rows[0], rows[1]):
        for j in range(columns[0], columns[1]):
            for c in range(3):
                y[i, j, c] = levels[0, c]


@released_kernel()
def _resample(
    picture: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, int],
    columns: tuple[np.ndarray, np.ndarray, int],
    levels: np.ndarray | None,
    y: np.ndarray,
    tile: int,
    counters: np.ndarray,
) -> None:
    """Take tiles until none is left, then wait until all are done. rows, columns: starts, weights, first of y.

    counters: int64 zeros, tiles taken and, a line on, tiles finished.
    """
    row_starts, row_weights, top = rows
    column_starts, column_weights, left = columns
    height, width, count = row_starts.size, column_starts.size, column_weights.shape[1]
    tiles = (width + tile - 1) // tile
    tasks = (height + _BAND - 1) // _BAND * tiles
    span = 0
    for first in range(0, width, tile):
        last = min(first + tile, width) - 1
        span = max(span, column_starts[last] + count - column_starts[first])
    sums = np.zeros((_BAND, 3 * span))
    values = np.empty(_BAND)
    mine = 0
    while True:
        task = fetch_add(counters, 0, 1)
        if task >= tasks:
            break
        mine += 1
        upper = task // tiles * _BAND
        lower = min(upper + _BAND, height)
        first = task % tiles * tile
        last = min(first + tile, width)
        begin = column_starts[first]
        size = 3 * (column_starts[last - 1] + count - begin)
        for i in range(upper, lower):
            _add_rows(picture, row_starts[i], row_weights[i], 3 * begin, sums[i - upper, :size])
        for j in range(first, last):
            for c in range(3):
                _add_columns(sums, 3 * (column_starts[j] - begin) + c, column_weights[j], values)
                for i in range(upper, lower):
                    if levels is None:
                        y[top + i, left + j, c] = values[i - upper]
                    else:
                        y[top + i, left + j, c] = levels[int(values[i - upper] + ROUNDING), c]
        if levels is not None and first == 0:  # what is beside this band, and above the first and below the last one
            above = 0 if upper == 0 else top + upper
            below = y.shape[0] if lower == height else top + lower
            _fill(y, (above, top + upper), (0, y.shape[1]), levels)
            _fill(y, (top + lower, below), (0, y.shape[1]), levels)
            _fill(y, (top + upper, top + lower), (0, left), levels)
            _fill(y, (top + upper, top + lower), (left + width, y.shape[1]), levels)
    fetch_add(counters, LINE, mine)
    wait(counters, LINE, tasks)


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Indices beyond the border, mirrored about the centre of the border value: -1 -> 1, size -> size - 2."""
    last = size - 1
    return np.abs((index + last) % (2 * last) - last) if last else np.zeros_like(index)


def _read_only(array: np.ndarray) -> np.ndarray:
    """Numba compiles anew for arrays that may be written."""
    array.flags.writeable = False
    return array
