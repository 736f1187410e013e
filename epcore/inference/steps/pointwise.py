"""1x1 convolution of a chunk of pixels: product, bias, activation and residual in registers, stored once.

    y[p, j] = activation(bias[j] + sum_k x[p, k] * w[k, j]) + residual[p, j]

A tile of TILE_ROWS pixels x V vectors of columns stays in registers over the whole sum. The weights come in panels
(`epcore.kernels.cpu.panels`): for every k the V vectors a tile needs, one after the other, so that they are read straight
through. The last tile of a chunk overlaps the one before it. Where the input is too large for the cache (`ahead`) a tile asks
for the pixels of the next one while it works. `epcore.inference.costs` decides that, and how many pixels a chunk has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numba import njit

from epcore.inference.step import Convolution
from epcore.inference.steps.activation import PRELU, encode_activation, finish, finish_by_channel
from epcore.inference.steps.record import ACTIVATION, PANELS, TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu import panels as cuts
from epcore.kernels.cpu.panels import by_width, place, vectors_before
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.simd import load_block, load_tile, outer, prefetch, repeat, store_tile

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

ROWS = TILE_ROWS

# A matrix product: rows of `depth` numbers by weights in panels; each row of `weights_image` numbers where images have their
# own.
PRODUCT = np.dtype(fields(integers="depth bias ahead", activation=ACTIVATION, panels=PANELS))
RECORD = record(
    *fields(integers="pixels chunk weights weights_image", x=TENSOR, residual=TENSOR, product=PRODUCT)
)  # residual.offset -1: none
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pointwise(Convolution):
    """weights (Cin, Cout), stride 1. residual: the value added after the activation; gate: that scales the weights' rows."""

    operator: ClassVar[str] = "conv2d"

    residual: str | None = None
    gate: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.inputs, *(name for name in (self.residual, self.gate) if name))

    @property
    def maps(self) -> tuple[str, ...]:
        return (*self.inputs, *([self.residual] if self.residual else []), self.output)


class Rows(NamedTuple):
    """Pixels in the arena: where the first is, and elements to the next."""

    at: int
    step: int


class Maps(NamedTuple):
    """What a product reads, writes and adds (residual.at -1: nothing)."""

    x: Rows
    y: Rows
    residual: Rows


class Columns(NamedTuple):
    """One panel: where its weights are, its first column, and columns between its vectors."""

    weights: int
    first: int
    step: int


@njit(error_model="numpy")
def shifted(maps: Maps, pixels: int) -> Maps:
    """The maps from this pixel on. (y may lie before the arena, so only the residual is asked whether it is there.)"""
    x, y, residual = maps.x, maps.y, maps.residual
    at = residual.at + pixels * residual.step if residual.at >= 0 else -1
    return Maps(Rows(x.at + pixels * x.step, x.step), Rows(y.at + pixels * y.step, y.step), Rows(at, residual.step))


def _tile(rows: int, vectors: int) -> Callable[..., None]:
    """One register tile: `rows` pixels, the `vectors` vectors of one panel."""

    @njit(error_model="numpy")
    def tile(arena, product, maps, columns):  # type: ignore[no-untyped-def]
        sums = repeat(load_block(arena, product.bias + columns.first, columns.step, vectors), rows)
        x, depth = maps.x, product.depth
        if product.ahead:
            for k in range(depth):
                if k & (LANES - 1) == 0:  # a cache line of each pixel
                    prefetch(arena, x.at + rows * x.step + k, x.step, rows)
                weights = load_block(arena, columns.weights + k * (vectors * LANES), LANES, vectors)
                sums = outer(sums, arena, x.at + k, x.step, weights)
        else:
            for k in range(depth):
                weights = load_block(arena, columns.weights + k * (vectors * LANES), LANES, vectors)
                sums = outer(sums, arena, x.at + k, x.step, weights)
        end = product.activation
        if end.kind == PRELU:
            slopes = repeat(load_block(arena, end.alpha + columns.first, columns.step, vectors), rows)
            sums = finish_by_channel(sums, end.kind, np.float32(end.parameter), slopes)
        else:
            sums = finish(sums, end.kind, np.float32(end.parameter))
        if maps.residual.at >= 0:
            sums = sums + load_tile(arena, maps.residual.at + columns.first, maps.residual.step, columns.step, rows, vectors)
        store_tile(arena, maps.y.at + columns.first, maps.y.step, columns.step, sums, vectors)

    return tile


def _panel(vectors: int) -> Callable[..., None]:
    """One panel of columns for a chunk of pixels."""
    tile, row = _tile(ROWS, vectors), _tile(1, vectors)  # rows: for maps smaller than a tile

    @njit(error_model="numpy")
    def run(arena, product, pixels, maps, columns):  # type: ignore[no-untyped-def]
        start = 0
        while start < pixels:
            if pixels >= ROWS:
                p = min(start, pixels - ROWS)
                tile(arena, product, shifted(maps, p), columns)
                start += ROWS
            else:
                row(arena, product, shifted(maps, start), columns)
                start += 1

    return run


_run_panel = by_width(_panel)


@njit(error_model="numpy")
def multiply(arena, product, weights, maps, pixels, panels):  # type: ignore[no-untyped-def]
    """`pixels` pixels through the columns of panels from panels[0] to before panels[1]."""
    cut = product.panels
    for number in range(panels[0], panels[1]):
        first, step, vectors = place(cut, number)
        columns = Columns(weights + vectors_before(cut, number) * LANES * product.depth, first, step)
        _run_panel(vectors, (arena, product, pixels, maps, columns))


@step_kernel
def _run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """Task: `chunk` pixels of one image."""
    step = _view(row)
    chunks = (step.pixels + step.chunk - 1) // step.chunk
    n, first = task // chunks, task % chunks * step.chunk
    x = Rows(step.x.offset + n * step.x.image + first * step.x.pixel, step.x.pixel)
    y = Rows(step.y.offset + n * step.y.image + first * step.y.pixel, step.y.pixel)
    residual = Rows(-1, step.residual.pixel)
    if step.residual.offset >= 0:
        residual = Rows(step.residual.offset + n * step.residual.image + first * step.residual.pixel, step.residual.pixel)
    cut = step.product.panels
    weights = step.weights + n * step.weights_image
    pixels = min(step.chunk, step.pixels - first)
    multiply(arena, step.product, weights, Maps(x, y, residual), pixels, (0, cut.full + cut.rest))


KIND = Kind("pointwise", RECORD, _run)


def encode_product(step: Convolution, ahead: bool, encoder: Encoder) -> tuple[dict[str, Any], int]:
    """Its record, and where its packed weights are."""
    weights, bias = step.weights.astype(np.float32), encoder.constant(step.bias)
    panels = encoder.cut(step, weights.shape[1])
    packed = encoder.constant(cuts.pack(weights, panels))
    return {
        "depth": weights.shape[0],
        "bias": bias,
        "ahead": ahead,
        "activation": encode_activation(step.activation, encoder),
        "panels": panels,
    }, packed


def encode(step: Pointwise, encoder: Encoder) -> None:
    """The row of a pointwise layer; where a gate comes before it, the gate's row learns to scale its weights."""
    x, y = encoder.places[step.inputs[0]], encoder.places[step.output]
    N, H, W, _ = x.shape
    encoder.cut(step, step.weights.shape[1])  # which raises what costs would not say so well
    choice, seconds = encoder.costs.pointwise(step, encoder.shapes)
    product, weights = encode_product(step, choice.ahead, encoder)
    row = encoder.row(
        KIND, step, N * -(-H * W // choice.chunk), choice=choice, seconds=seconds, y=y, x=x, pixels=H * W, chunk=choice.chunk,
        weights=weights, product=product, residual=encoder.places[step.residual] if step.residual else (-1, 0, 0),
    )  # fmt: skip
    if step.gate is not None:
        encoder.scale_weights(step.gate, row, weights, product)


DEFINITION = Definition(Pointwise, encode, (KIND,))
