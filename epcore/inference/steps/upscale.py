"""Transposed convolution 4x4, stride 2, SAME: twice the size. One row of output pixels a task.

With the crop of one row, output row oy gathers the taps u with oy + 1 - u even, from input row (oy + 1 - u) / 2; columns
likewise. Two rows and two columns of the kernel meet each output pixel. In the release the kernels are diagonal (every
channel for itself), which needs one multiply-add a channel and tap instead of C of them; a dense kernel runs as a product
over input channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from epcore.inference.step import Convolution, NoPlanError, Step
from epcore.inference.steps.record import TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import fma, load, splat, store

if TYPE_CHECKING:
    from epcore.graph import Node
    from epcore.inference.encode import Encoder
    from epcore.inference.fuse import Fuser

RECORD = record(*fields(integers="height width channels weights bias", x=TENSOR))  # height, width: of the input
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Upscale(Convolution):
    """weights (kh, kw, Cout, Cin), as `epcore.ops.conv_transpose2d` has them. No activation."""

    operator: ClassVar[str] = "conv_transpose2d"


@step_kernel
def _diagonal(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """Diagonal kernels: weights (4, 4, C).

    Between input pixels i and i + 1 lie output pixels 2i + 1 and 2i + 2; the taps of two input rows a and b stay in registers.
    Where one of the rows is outside the map, its taps are zero and it stands for its neighbour.
    """
    step = _view(row)
    n, oy = task // (2 * step.height), task % (2 * step.height)
    channels, width, pixel, out = step.channels, step.width, step.x.pixel, step.y.pixel
    x = step.x.offset + n * step.x.image
    y = step.y.offset + n * step.y.image + oy * 2 * width * out
    u, below = (oy + 1) % 2, (oy + 1) // 2  # row a meets tap row u, row b above it tap row u + 2
    inside_a, inside_b = np.float32(below < step.height), np.float32(below > 0)
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        bias = load(arena, step.bias + c)
        a0, a1, a2, a3 = _taps(arena, step.weights + u * 4 * channels + c, channels, inside_a)
        b0, b1, b2, b3 = _taps(arena, step.weights + (u + 2) * 4 * channels + c, channels, inside_b)
        xa = x + min(below, step.height - 1) * width * pixel + c
        xb = x + max(below - 1, 0) * width * pixel + c
        left_a, left_b = load(arena, xa), load(arena, xb)
        store(arena, y + c, fma(left_b, b1, fma(left_a, a1, bias)))
        for i in range(1, width):
            right_a, right_b = load(arena, xa + i * pixel), load(arena, xb + i * pixel)
            odd = fma(left_b, b2, fma(right_b, b0, fma(left_a, a2, fma(right_a, a0, bias))))
            even = fma(left_b, b3, fma(right_b, b1, fma(left_a, a3, fma(right_a, a1, bias))))
            store(arena, y + (2 * i - 1) * out + c, odd)
            store(arena, y + 2 * i * out + c, even)
            left_a, left_b = right_a, right_b
        store(arena, y + (2 * width - 1) * out + c, fma(left_b, b2, fma(left_a, a2, bias)))
        block += LANES


@njit(error_model="numpy")
def _taps(arena, at, channels, inside):  # type: ignore[no-untyped-def]
    """The four taps of a kernel row, times 1 or 0."""
    return (
        inside * load(arena, at),
        inside * load(arena, at + channels),
        inside * load(arena, at + 2 * channels),
        inside * load(arena, at + 3 * channels),
    )


@step_kernel
def _dense(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """Any kernels: weights (4, 4, C, C), input channel before output channel."""
    step = _view(row)
    n, oy = task // (2 * step.height), task % (2 * step.height)
    channels, width = step.channels, step.width
    x = step.x.offset + n * step.x.image
    y = step.y.offset + n * step.y.image + oy * 2 * width * step.y.pixel
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        bias = load(arena, step.bias + c)
        for ox in range(2 * width):
            total = bias
            for u in range((oy + 1) % 2, 4, 2):
                iy = (oy + 1 - u) // 2
                if iy < 0 or iy >= step.height:
                    continue
                for v in range((ox + 1) % 2, 4, 2):
                    ix = (ox + 1 - v) // 2
                    if ix < 0 or ix >= width:
                        continue
                    pixel = x + (iy * width + ix) * step.x.pixel
                    weights = step.weights + (u * 4 + v) * channels * channels + c
                    for k in range(channels):
                        total = fma(splat(arena[pixel + k], 1), load(arena, weights + k * channels), total)
            store(arena, y + ox * step.y.pixel + c, total)
        block += LANES


DIAGONAL, DENSE = Kind("upscale", RECORD, _diagonal), Kind("upscale dense", RECORD, _dense)


def encode(step: Upscale, encoder: Encoder) -> None:
    x, y, w = encoder.places[step.inputs[0]], encoder.places[step.output], step.weights
    N, H, W, C = x.shape
    if w.shape != (4, 4, C, C) or step.stride != 2 or C < LANES:
        raise NoPlanError(
            f"compile: {step.output} is a transposed convolution {w.shape[0]}x{w.shape[1]}, stride {step.stride}, of {C} to "
            f"{w.shape[2]} channels; plans know 4x4, stride 2, of equal channels, {LANES} or more"
        )
    diagonal = np.diagonal(w, axis1=2, axis2=3)
    sparse = np.array_equal(w, diagonal[..., None] * np.eye(C))
    encoder.row(
        DIAGONAL if sparse else DENSE, step, N * 2 * H, y=y, x=x, height=H, width=W, channels=C,
        weights=encoder.constant(diagonal if sparse else w.transpose(0, 1, 3, 2)), bias=encoder.constant(step.bias),
    )  # fmt: skip


def _fuse(fuser: Fuser, node: Node) -> list[Step]:
    fields, nodes = fuser.convolution(node, ())
    return [Upscale(inputs=tuple(node.inputs), output=node.name, nodes=fuser.names(nodes), **fields)]


DEFINITION = Definition(Upscale, encode, (DIAGONAL, DENSE), {"conv_transpose2d": _fuse})
