"""Steps that go through the pixels of maps as they are: sums, members of concatenations, activations on their own.

One chunk of pixels of one image a task; the channels of a pixel in vectors, the last of which may be cut short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numba import njit

from epcore.inference.layout import Place, members
from epcore.inference.step import Activation, Step
from epcore.inference.steps.activation import encode_activation, finish_by_channel
from epcore.inference.steps.record import ACTIVATION, TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.processor import LANES, TILE_ROWS
from epcore.kernels.cpu.simd import load_partial, sigmoid, splat, store_partial

if TYPE_CHECKING:
    from epcore.graph import Node
    from epcore.inference.encode import Encoder
    from epcore.inference.fuse import Fuser

RECORD = record(*fields(integers="pixels channels chunk", x=TENSOR, second=TENSOR, activation=ACTIVATION))
_view = viewer(RECORD)
_SIGMOID = 16  # beside the codes of activation.py: no convolution ends with it


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Step):
    """The sum of two maps."""

    operator: ClassVar[str] = "add"


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Step):
    """Members that lie where they belong cost nothing, the others are copied (`epcore.inference.layout`)."""

    operator: ClassVar[str] = "concat"
    concatenates: ClassVar[bool] = True


@dataclass(frozen=True, eq=False, kw_only=True)
class Activate(Step):
    """An activation that no convolution before it could take."""

    operator: ClassVar[str] = "activation"

    activation: Activation


def _walk(one: Callable[..., Any]) -> Any:
    """The loop around one(arena, step, x, second, c, rest), which gives a vector of y."""

    @step_kernel
    def run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
        step = _view(row)
        chunks = (step.pixels + step.chunk - 1) // step.chunk
        n, first = task // chunks, task % chunks * step.chunk
        for p in range(first, min(first + step.chunk, step.pixels)):
            x = step.x.offset + n * step.x.image + p * step.x.pixel
            second = step.second.offset + n * step.second.image + p * step.second.pixel
            y = step.y.offset + n * step.y.image + p * step.y.pixel
            for c in range(0, step.channels, LANES):
                rest = step.channels - c
                store_partial(arena, y + c, one(arena, step, x + c, second + c, c, rest), rest)

    return run


@njit(error_model="numpy", forceinline=True)
def _sum(arena, step, x, second, c, rest):  # type: ignore[no-untyped-def]
    return load_partial(arena, x, rest) + load_partial(arena, second, rest)


@njit(error_model="numpy", forceinline=True)
def _same(arena, step, x, second, c, rest):  # type: ignore[no-untyped-def]
    return load_partial(arena, x, rest)


@njit(error_model="numpy", forceinline=True)
def _activated(arena, step, x, second, c, rest):  # type: ignore[no-untyped-def]
    v = load_partial(arena, x, rest)
    end = step.activation
    if end.kind == _SIGMOID:
        return sigmoid(v)
    slopes = splat(0.0, 1)
    if end.alpha >= 0:
        slopes = load_partial(arena, end.alpha + c, rest)
    return finish_by_channel(v, end.kind, np.float32(end.parameter), slopes)


ADD, COPY = Kind("add", RECORD, _walk(_sum)), Kind("copy", RECORD, _walk(_same))
ACTIVATE = Kind("activate", RECORD, _walk(_activated))


def _encode(kind: Kind, step: Step, encoder: Encoder, x: Place, y: Place, **others: Any) -> None:
    N, H, W, C = x.shape
    chunk = max(TILE_ROWS, -(-H * W // 8))
    encoder.row(kind, step, N * -(-H * W // chunk), y=y, x=x, pixels=H * W, channels=C, chunk=chunk, **others)


def encode_add(step: Add, encoder: Encoder) -> None:
    first, second = (encoder.places[name] for name in step.inputs)
    _encode(ADD, step, encoder, first, encoder.places[step.output], second=second)


def encode_concat(step: Concat, encoder: Encoder) -> None:
    for source, target in members(step, encoder.places, encoder.shapes):
        _encode(COPY, step, encoder, source, target, label=f"{step.output} (copy)")


def encode_activate(step: Activate, encoder: Encoder) -> None:
    sigmoid_alone = step.activation.kind == "sigmoid"
    end = (_SIGMOID, 1.0, -1) if sigmoid_alone else encode_activation(step.activation, encoder)
    places = encoder.places
    _encode(ACTIVATE, step, encoder, places[step.inputs[0]], places[step.output], activation=end)


def _fuse(step: type[Step]) -> Callable[[Fuser, Node], list[Step]]:
    return lambda fuser, node: [step(**fuser.alone(node))]


def _fuse_activation(fuser: Fuser, node: Node) -> list[Step]:
    return [Activate(activation=fuser.activation(node), **fuser.alone(node))]


DEFINITIONS = (
    Definition(Add, encode_add, (ADD,), {"add": _fuse(Add)}),
    Definition(Concat, encode_concat, (COPY,), {"concat": _fuse(Concat)}),
    Definition(
        Activate, encode_activate, (ACTIVATE,), dict.fromkeys(("swish", "eswish", "relu", "prelu", "sigmoid"), _fuse_activation)
    ),
)
