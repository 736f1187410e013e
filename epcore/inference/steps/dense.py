"""Dense convolution with a window: the stem of the networks, and every other that is not 1x1. One row of output pixels a task.

    y[oy, ox, j] = activation(bias[j] + sum_{u,v,c} x[oy*s + u - top, ox*s + v - left, c] * w[u, v, c, j])

The window of an output pixel is kh runs of kw * C numbers that lie one after the other in memory, so a tile of pixels takes
them straight from the map, without an im2col copy. The map has been copied into a frame of zeros before (read.py), so every
window is inside. The weights come in panels as in pointwise.py, one k for each number of a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from numba import njit

from epcore.inference.step import Convolution
from epcore.inference.steps.activation import PRELU, encode_activation, finish, finish_by_channel
from epcore.inference.steps.pointwise import Columns
from epcore.inference.steps.read import frame
from epcore.inference.steps.record import ACTIVATION, PANELS, TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu import panels as cuts
from epcore.kernels.cpu.panels import by_width, place, vectors_before
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.simd import load_block, outer, repeat, store_tile
from epcore.shapes import Window

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

ROWS = TILE_ROWS

# x is the frame. run: kw * C, row: elements of a row of the frame, between: elements from one window to the next, down: rows.
RECORD = record(
    *fields(
        integers="out_height out_width rows run row between down weights bias", x=TENSOR, activation=ACTIVATION, panels=PANELS
    )
)
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Convolution):
    """weights (kh, kw, Cin, Cout)."""

    operator: ClassVar[str] = "conv2d"


class At(NamedTuple):
    """Where the first window of a tile is in the frame, and its pixel in the output."""

    x: int
    y: int


def _tile(pixels: int, vectors: int) -> Callable[..., None]:
    @njit(error_model="numpy")
    def tile(arena, step, at, columns):  # type: ignore[no-untyped-def]
        sums = repeat(load_block(arena, step.bias + columns.first, columns.step, vectors), pixels)
        run, between = step.run, step.between
        for u in range(step.rows):
            x = at.x + u * step.row
            for k in range(run):
                weights = load_block(arena, columns.weights + (u * run + k) * (vectors * LANES), LANES, vectors)
                sums = outer(sums, arena, x + k, between, weights)
        end = step.activation
        if end.kind == PRELU:
            slopes = repeat(load_block(arena, end.alpha + columns.first, columns.step, vectors), pixels)
            sums = finish_by_channel(sums, end.kind, np.float32(end.parameter), slopes)
        else:
            sums = finish(sums, end.kind, np.float32(end.parameter))
        store_tile(arena, at.y + columns.first, step.y.pixel, columns.step, sums, vectors)

    return tile


def _panel(vectors: int) -> Callable[..., None]:
    tile, one = _tile(ROWS, vectors), _tile(1, vectors)

    @njit(error_model="numpy")
    def run(arena, step, at, columns):  # type: ignore[no-untyped-def]
        width = step.out_width
        start = 0
        while start < width:
            if width >= ROWS:
                p = min(start, width - ROWS)
                tile(arena, step, At(at.x + p * step.between, at.y + p * step.y.pixel), columns)
                start += ROWS
            else:
                one(arena, step, At(at.x + start * step.between, at.y + start * step.y.pixel), columns)
                start += 1

    return run


_run_panel = by_width(_panel)


@step_kernel
def _run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    step = _view(row)
    n, oy = task // step.out_height, task % step.out_height
    at = At(
        step.x.offset + n * step.x.image + oy * step.down * step.row,
        step.y.offset + n * step.y.image + oy * step.out_width * step.y.pixel,
    )
    for number in range(step.panels.full + step.panels.rest):
        first, apart, vectors = place(step.panels, number)
        weights = step.weights + vectors_before(step.panels, number) * LANES * step.rows * step.run
        _run_panel(vectors, (arena, step, at, Columns(weights, first, apart)))


KIND = Kind("dense", RECORD, _run)


def encode(step: Dense, encoder: Encoder) -> None:
    source, out = step.inputs[0], encoder.places[step.output]
    kh, kw, C, columns = step.weights.shape
    x = frame(source, Window(encoder.shapes[source], (kh, kw), step.stride), encoder)
    panels = encoder.cut(step, columns)
    N, OH, OW, _ = out.shape
    encoder.row(
        KIND, step, N * OH, y=out, x=x, out_height=OH, out_width=OW, rows=kh, run=kw * C, row=x.shape[2] * C,
        between=step.stride * C, down=step.stride, panels=panels, bias=encoder.constant(step.bias),
        weights=encoder.constant(cuts.pack(step.weights.reshape(-1, columns).astype(np.float32), panels)),
        activation=encode_activation(step.activation, encoder),
    )  # fmt: skip


DEFINITION = Definition(Dense, encode, (KIND,))
