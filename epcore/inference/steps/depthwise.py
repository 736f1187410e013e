"""Depthwise convolution of one row of output pixels: bias, activation and the row's sums (for squeeze-and-excitation) fused.

    y[oy, ox, c] = activation(bias[c] + sum_{u,v} x[oy*s + u - top, ox*s + v - left, c] * w[u, v, c])
    sums[oy, c] = sum over ox of y[oy, ox, c]

A strip of output pixels x LANES channels is summed in registers, as in `epcore.kernels.cpu.depthwise_conv2d`. Where C is no
multiple of LANES the last vector of channels overlaps the one before it; the last strip of a row likewise, and the pixels
it computes a second time are left out of the sums. A strip whose window is inside the map, as most are, takes no account of
the border: to ask of every pixel whether it is there costs a sixth of a 5x5 layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numba import njit

from epcore.inference.step import Convolution, NoPlanError
from epcore.inference.steps.activation import encode_activation, finish
from epcore.inference.steps.record import ACTIVATION, TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load, load_block, load_strip, slide, splat, store, store_block, store_strip, sum_range
from epcore.shapes import Window

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

# Strips: as many sums as keep two multipliers of four cycles busy, whatever registers are left beside them. 5x5 with stride 1
# has a choice: by what a row takes with each, since the last strip of a row overlaps the one before.
STRIP, STRIPS, STRIP_STRIDE2 = 8, (10, 8, 7), 4

# Of the map it reads and the one it writes, the window, where its sums go (offset -1: nowhere).
DEPTHWISE = np.dtype(
    fields(
        integers="height width channels out_height out_width size stride strip top left weights bias sums sums_image",
        activation=ACTIVATION,
    )
)
RECORD = record(*fields(x=TENSOR, depthwise=DEPTHWISE))
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Depthwise(Convolution):
    """weights (k, k, C). summed: a gate reads the sums of its output's rows."""

    operator: ClassVar[str] = "depthwise_conv2d"

    summed: bool = False


class Source(NamedTuple):
    """Input rows: row iy begins at `at` + (iy & mask) rows of pixels `pixel` apart; mask -1 where all rows are there."""

    at: int
    mask: int
    pixel: int


class Target(NamedTuple):
    """Output rows of one image, and where their sums begin (-1: none)."""

    at: int
    pixel: int
    sums: int


def _row(size: int, stride: int, strip: int) -> Callable[..., None]:
    PIXELS = (strip - 1) * stride + size

    @njit(error_model="numpy")
    def row(arena, layer, oy, source, target, channels):  # type: ignore[no-untyped-def]
        C, width, out_width, out_pixel = layer.channels, layer.width, layer.out_width, target.pixel
        x, mask, pixel = source.at, source.mask, source.pixel
        y = target.at + oy * out_width * out_pixel
        kind, parameter, weights = layer.activation.kind, np.float32(layer.activation.parameter), layer.weights
        iy = oy * stride - layer.top
        first, last = max(-iy, 0), min(size, layer.height - iy)
        whole = first == 0 and last == size
        block, end = channels
        while block < end:
            c = min(block, end - LANES)
            bias = load(arena, layer.bias + c)
            row_sum = splat(0.0, 1)
            start = 0
            while start < out_width:
                ox = max(min(start, out_width - strip), 0)
                ix = ox * stride - layer.left
                sums = splat(0.0, strip) + bias
                if whole and ix >= 0 and ix + PIXELS <= width:
                    for u in range(size):
                        taps = load_block(arena, weights + u * size * C + c, C, size)
                        pixels = load_block(arena, x + (((iy + u) & mask) * width + ix) * pixel + c, pixel, PIXELS)
                        sums = slide(sums, pixels, taps, stride)
                else:
                    for u in range(first, last):
                        taps = load_block(arena, weights + u * size * C + c, C, size)
                        pixels = load_strip(arena, x + ((iy + u) & mask) * width * pixel + c, ix, width, pixel, PIXELS)
                        sums = slide(sums, pixels, taps, stride)
                sums = finish(sums, kind, parameter)
                if out_width >= strip:
                    store_block(arena, y + ox * out_pixel + c, out_pixel, sums)
                    if start == ox:
                        row_sum = sum_range(row_sum, sums, 0, strip)
                    else:
                        row_sum = sum_range(row_sum, sums, start - ox, strip)
                else:
                    store_strip(arena, y + c, out_pixel, sums, out_width)
                    row_sum = sum_range(row_sum, sums, 0, out_width)
                start += strip
            if target.sums >= 0:
                store(arena, target.sums + oy * C + c, row_sum)
            block += LANES

    return row


_k3s1 = _row(3, 1, STRIP)
_k5s1, _k5s1_middle, _k5s1_narrow = (_row(5, 1, strip) for strip in STRIPS)
_k3s2, _k5s2 = _row(3, 2, STRIP_STRIDE2), _row(5, 2, STRIP_STRIDE2)


@njit(error_model="numpy")
def depthwise_row(arena, layer, oy, source, target, channels):  # type: ignore[no-untyped-def]
    """Output row oy, channels from channels[0] to before channels[1]."""
    if layer.stride == 1:
        if layer.size == 3:
            _k3s1(arena, layer, oy, source, target, channels)
        elif layer.strip == STRIPS[0]:
            _k5s1(arena, layer, oy, source, target, channels)
        elif layer.strip == STRIPS[1]:
            _k5s1_middle(arena, layer, oy, source, target, channels)
        else:
            _k5s1_narrow(arena, layer, oy, source, target, channels)
    elif layer.size == 3:
        _k3s2(arena, layer, oy, source, target, channels)
    else:
        _k5s2(arena, layer, oy, source, target, channels)


@njit(error_model="numpy")
def target_of(step, n):  # type: ignore[no-untyped-def]
    """Where a record's step writes image n."""
    sums = step.depthwise.sums + n * step.depthwise.sums_image if step.depthwise.sums >= 0 else -1
    return Target(step.y.offset + n * step.y.image, step.y.pixel, sums)


@step_kernel
def _run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """Task: one row of output pixels of one image."""
    step = _view(row)
    layer = step.depthwise
    n, oy = task // layer.out_height, task % layer.out_height
    source = Source(step.x.offset + n * step.x.image, -1, step.x.pixel)
    depthwise_row(arena, layer, oy, source, target_of(step, n), (0, layer.channels))


KIND = Kind("depthwise", RECORD, _run)


def strips_of(size: int, stride: int) -> tuple[int, ...]:
    """The strips that kernels for such a window are compiled for."""
    return (STRIP_STRIDE2,) if stride == 2 else STRIPS if size == 5 else (STRIP,)


def is_known(step: Depthwise) -> bool:
    """Whether the kernels know its window and can take so few channels."""
    kh, kw, C = step.weights.shape
    return kh == kw and kh in (3, 5) and step.stride in (1, 2) and C >= LANES


def encode_depthwise(step: Depthwise, strip: int, encoder: Encoder) -> dict[str, Any]:
    """Its record."""
    N, H, W, C = encoder.shapes[step.inputs[0]]
    _, OH, OW, _ = encoder.shapes[step.output]
    kh, kw = step.weights.shape[:2]
    top, left = Window((N, H, W, C), (kh, kw), step.stride).start
    return {
        "height": H,
        "width": W,
        "channels": C,
        "out_height": OH,
        "out_width": OW,
        "size": kh,
        "stride": step.stride,
        "strip": strip,
        "top": top,
        "left": left,
        "weights": encoder.constant(step.weights),
        "bias": encoder.constant(step.bias),
        "activation": encode_activation(step.activation, encoder),
        "sums": encoder.sums(step.output) if step.summed else -1,
        "sums_image": OH * C,
    }


def encode(step: Depthwise, encoder: Encoder) -> None:
    """Raises ValueError for a window or a number of channels that the kernels do not know."""
    if not is_known(step):
        kh, kw, C = step.weights.shape
        raise NoPlanError(
            f"compile: {step.output} is a depthwise {kh}x{kw}, stride {step.stride}, of {C} channels; plans know 3x3 and 5x5, "
            f"stride 1 and 2, of {LANES} channels or more"
        )
    x, y = encoder.places[step.inputs[0]], encoder.places[step.output]
    choice, seconds = encoder.costs.depthwise(step, encoder.shapes)
    depthwise = encode_depthwise(step, choice.strip, encoder)
    encoder.row(KIND, step, y.shape[0] * y.shape[1], choice=choice, seconds=seconds, y=y, x=x, depthwise=depthwise)


DEFINITION = Definition(Depthwise, encode, (KIND,))
