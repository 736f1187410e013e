"""Pooling: the mean (no padding) or the largest (SAME padding) of a window, for every channel. One row of output pixels a task.

The half of the picture, which only stems read, is not among it: read.py averages as it copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from epcore.graph import INPUT
from epcore.inference.step import Step
from epcore.inference.steps.record import NUMBER, TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, splat, store_partial, where_greater
from epcore.shapes import Window

if TYPE_CHECKING:
    from epcore.graph import Node
    from epcore.inference.encode import Encoder
    from epcore.inference.fuse import Fuser

RECORD = record(*fields(integers="height width channels out_height out_width size stride top left", x=TENSOR, scale=NUMBER))
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Step):
    """largest: max pooling, else the mean of size x size pixels that follow each other."""

    operator: ClassVar[str] = "pool"

    size: int
    stride: int
    largest: bool


@njit(error_model="numpy", forceinline=True)
def _places(step, task):  # type: ignore[no-untyped-def]
    n, oy = task // step.out_height, task % step.out_height
    x, y = step.x.offset + n * step.x.image, step.y.offset + n * step.y.image + oy * step.out_width * step.y.pixel
    iy = oy * step.stride - step.top
    return x, y, max(iy, 0), min(iy + step.size, step.height)


@step_kernel
def _largest(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    step = _view(row)
    x, y, first_row, last_row = _places(step, task)
    for ox in range(step.out_width):
        ix = ox * step.stride - step.left
        for c in range(0, step.channels, LANES):
            rest = step.channels - c
            best = load_partial(arena, x + (first_row * step.width + max(ix, 0)) * step.x.pixel + c, rest)
            for h in range(first_row, last_row):
                for k in range(max(ix, 0), min(ix + step.size, step.width)):
                    value = load_partial(arena, x + (h * step.width + k) * step.x.pixel + c, rest)
                    # NaN is greater than nothing: the first order takes one that comes, the second keeps one that is there.
                    taken, kept = where_greater(best, value, best, value), where_greater(value, best, value, best)
                    best = where_greater(best, splat(-np.inf, 1), taken, kept)
            store_partial(arena, y + ox * step.y.pixel + c, best, rest)


@step_kernel
def _mean(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    step = _view(row)
    x, y, first_row, last_row = _places(step, task)
    for ox in range(step.out_width):
        ix = ox * step.stride
        for c in range(0, step.channels, LANES):
            rest = step.channels - c
            total = splat(0.0, 1)
            for h in range(first_row, last_row):
                for k in range(ix, ix + step.size):
                    total = total + load_partial(arena, x + (h * step.width + k) * step.x.pixel + c, rest)
            store_partial(arena, y + ox * step.y.pixel + c, total * np.float32(step.scale), rest)


LARGEST, MEAN = Kind("max pool", RECORD, _largest), Kind("average pool", RECORD, _mean)


def encode(step: Pool, encoder: Encoder) -> None:
    if step.inputs[0] == INPUT:
        encoder.halved.add(step.output)
        return
    x, y = encoder.places[step.inputs[0]], encoder.places[step.output]
    N, H, W, C = x.shape
    top, left = Window(x.shape, (step.size, step.size), step.stride).start if step.largest else (0, 0)
    encoder.row(
        LARGEST if step.largest else MEAN, step, N * y.shape[1], y=y, x=x, height=H, width=W, channels=C,
        out_height=y.shape[1], out_width=y.shape[2], size=step.size, stride=step.stride, top=top, left=left,
        scale=1 / step.size**2,
    )  # fmt: skip


def _fuse_mean(fuser: Fuser, node: Node) -> list[Step]:
    size = node.attributes["size"]
    return [Pool(size=size, stride=size, largest=False, **fuser.alone(node))]


def _fuse_largest(fuser: Fuser, node: Node) -> list[Step]:
    return [Pool(size=node.attributes["size"], stride=node.attributes["stride"], largest=True, **fuser.alone(node))]


DEFINITION = Definition(Pool, encode, (LARGEST, MEAN), {"avg_pool": _fuse_mean, "max_pool": _fuse_largest})
