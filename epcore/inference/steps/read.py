"""Frames: a map inside zeros as wide as a window needs, so that the window of every output pixel is there.

The map is the picture, its half (averages of 2x2, which the low-resolution branch reads), or any value of the plan. One row of
the frame a task; steps that need the same frame share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numba import njit

from epcore.graph import INPUT
from epcore.inference.layout import Place
from epcore.inference.step import Step
from epcore.inference.steps.record import TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.shapes import Shape, Window

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

# height, width, channels: of the map; out_height, out_width: of the frame; top, left: where the map lies in it.
RECORD = record(*fields(integers="height width channels out_height out_width top left", x=TENSOR))
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Read(Step):
    """No node of the network: what the encoder puts before a step that needs a frame."""

    operator: ClassVar[str] = "read"


@njit(error_model="numpy")
def _inside(arena, step, task):  # type: ignore[no-untyped-def]
    """(image, row of the map, -1 outside it; where the frame's row begins); the row's margins are zeros, or all of it."""
    n, oy = task // step.out_height, task % step.out_height
    length, left, inner = step.out_width * step.channels, step.left * step.channels, step.width * step.channels
    y = step.y.offset + n * step.y.image + oy * length
    iy = oy - step.top
    if iy < 0 or iy >= step.height:
        arena[y : y + length] = 0.0
        return n, -1, y
    arena[y : y + left] = 0.0
    arena[y + left + inner : y + length] = 0.0
    return n, iy, y + left


@step_kernel
def _read(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    step = _view(row)
    n, iy, y = _inside(arena, step, task)
    if iy >= 0:
        length = step.width * step.channels
        x = (n * step.height + iy) * length
        arena[y : y + length] = picture[x : x + length]


@step_kernel
def _halve(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """height, width: of the half. The picture's rows are one column longer where its width is odd: image counts its values."""
    step = _view(row)
    n, iy, y = _inside(arena, step, task)
    if iy >= 0:
        C, length = step.channels, step.x.pixel
        upper = n * step.x.image + 2 * iy * length
        for i in range(step.width):
            for c in range(C):
                x = upper + 2 * i * C + c
                total = (picture[x] + picture[x + C]) + (picture[x + length] + picture[x + length + C])
                arena[y + i * C + c] = total * np.float32(0.25)


@step_kernel
def _copy(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    step = _view(row)
    n, iy, y = _inside(arena, step, task)
    if iy >= 0:
        x = step.x.offset + n * step.x.image + iy * step.width * step.x.pixel
        for i in range(step.width):
            for c in range(step.channels):
                arena[y + i * step.channels + c] = arena[x + i * step.x.pixel + c]


READ, HALVE, COPY = Kind("read", RECORD, _read), Kind("halve", RECORD, _halve), Kind("frame", RECORD, _copy)


def frame(source: str, window: Window, encoder: Encoder) -> Place:
    """A frame of this value for this window; read once for all that share it."""
    key = source, window.padding
    if key not in encoder.frames:
        shape: Shape = window.padded
        N, H, W, C = window.x
        top, left = window.start
        place = Place(encoder.scratch(int(np.prod(shape))), shape, C)
        picture = encoder.shapes[INPUT]
        kind: Kind = COPY
        x: Place | tuple[int, int, int] | None = encoder.places.get(source)
        if source == INPUT:
            kind, x = READ, (0, 0, 0)
        elif source in encoder.halved:  # (of no use, values of a picture, values of a row)
            kind, x = HALVE, (0, picture[1] * picture[2] * C, picture[2] * C)
        encoder.row(
            kind, Read(inputs=(INPUT if kind is not COPY else source,), output=source), N * shape[1],
            label=f"{source} (read)", y=place, x=x, height=H, width=W, channels=C, out_height=shape[1], out_width=shape[2],
            top=top, left=left,
        )  # fmt: skip
        encoder.frames[key] = place
    return encoder.frames[key]


def _encode(step: Read, encoder: Encoder) -> None:
    raise AssertionError("frames are read where a step asks for one")


DEFINITION = Definition(Read, _encode, (READ, HALVE, COPY))
