"""Concatenation along channels on the GPU; contract: `epcore.ops.concat`. Four tensors a launch."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.concat import output_shape

SOURCE = Source("concat", ("concat_copy<{T},{V},true>", "concat_copy<{T},{V},false>"))
GROUP = 4


def forward(*xs: Array) -> tuple[Array, tuple[int, ...]]:
    check("concat", **{f"input {i}": x for i, x in enumerate(xs)})
    y = empty(output_shape(*(x.shape for x in xs)), xs[0])
    _copy(xs, y, join=True)
    return y, tuple(x.shape[-1] for x in xs)


def backward(dy: Array, saved: tuple[int, ...]) -> tuple[Array, ...]:
    check("concat", dy=dy)
    check_shape("concat", "dy", dy, (*dy.shape[:-1], sum(saved)))
    pieces = tuple(empty((*dy.shape[:-1], channels), dy) for channels in saved)
    _copy(pieces, dy, join=False)
    return pieces


def _copy(parts: Sequence[Array], joined: Array, *, join: bool) -> None:
    T = check("concat", joined=joined)
    V = width(gcd(*(part.shape[-1] for part in parts)), joined, *parts)
    total = joined.shape[-1]
    rows, first = joined.size // total, 0
    for start in range(0, len(parts), GROUP):
        group = parts[start : start + GROUP]
        channels = [part.shape[-1] for part in group]
        missing = GROUP - len(group)
        launch(
            SOURCE, T, f"concat_copy<{T},{V},{str(join).lower()}>", flat(rows * sum(channels), V),
            *group, *[None] * missing, joined, *channels, *[0] * missing, first, total, rows,
        )  # fmt: skip
        first += sum(channels)
