"""What can happen to an array on its way: mirrored, shifted, its axes exchanged, cut to one index, read in another order.

The same are tried on a gradient and on each ingredient of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from epcore.exercise.problem import Problem

MAP = ("samples", "rows", "columns", "channels")


class Move(NamedTuple):
    """text: a clause, after the array's name. of(array) -> an array of its shape, None where there is no such move of it."""

    text: str
    of: Callable[[np.ndarray], np.ndarray | None]


def axis_names(problem: Problem, name: str, ndim: int) -> tuple[str, ...]:
    """Of an ingredient or input."""
    axes = problem.op.kernel_axes
    if axes is not None and name == problem.names[1]:
        named = {0: "kernel rows", 1: "kernel columns", axes.x: "channels of x", axes.y: "channels of y"}
        if axes.depthwise:
            named[axes.x] = "channels"
        return tuple(named[axis] for axis in range(ndim))
    return (
        MAP if ndim == 4 else {1: ("channels",), 2: ("samples", "channels")}.get(ndim, tuple(f"axis {i}" for i in range(ndim)))
    )


def moves(names: tuple[str, ...]) -> Iterator[Move]:
    """Of an array with these axes, the plain ones first."""
    axes = range(len(names))
    spatial = [axis for axis in axes if names[axis].endswith(("rows", "columns"))]
    others = [axis for axis in axes if axis not in spatial]
    if len(spatial) == 2:
        yield Move("turned by 180 degrees", partial(np.flip, axis=tuple(spatial)))
        yield Move(
            f"with {names[spatial[0]]} and {names[spatial[1]]} exchanged", partial(_exchanged, pair=(spatial[0], spatial[1]))
        )
    for axis in axes:
        yield Move(f"with its {names[axis]} in reverse order", partial(np.flip, axis=axis))
    for axis in (*spatial, *others):
        for step in (1, -1, 2, -2):
            way = f"by {abs(step)} along its {names[axis]}, to {'higher' if step > 0 else 'lower'} indices"
            yield Move(f"shifted {way}", partial(_shifted, axes=[axis], step=step))
            yield Move(f"rolled around {way}", partial(np.roll, shift=step, axis=axis))
    if len(spatial) == 2:
        for step in (1, -1, 2, -2):
            way = f"by {abs(step)} along rows and columns, to {'higher' if step > 0 else 'lower'} indices"
            yield Move(f"shifted {way}", partial(_shifted, axes=spatial, step=step))
    for a, b in combinations(axes, 2):
        if [a, b] != spatial:
            yield Move(f"with its {names[a]} and {names[b]} exchanged", partial(_exchanged, pair=(a, b)))
    for index, which in ((0, "first"), (-1, "last")):
        for axis in axes:
            yield Move(f"of the {which} of its {names[axis]} only", partial(_only, axes=[axis], index=index))
            yield Move(f"without the {which} of its {names[axis]}", partial(_without, axis=axis, index=index))
        if len(spatial) == 2:
            text = f"of the {which} of its {names[spatial[0]]} and {names[spatial[1]]} only"
            yield Move(text, partial(_only, axes=spatial, index=index))
    for order in permutations(axes):
        if order != tuple(axes) and len(names) > 1:
            read = ", ".join(names[axis] for axis in order)
            yield Move(f"reshaped in another order: read as {read}", partial(_read_as, order=order))


def _shifted(array: np.ndarray, axes: list[int], step: int) -> np.ndarray:
    """Zeros come in."""
    for axis in axes:
        array = np.roll(array, step, axis)
        edge = [slice(None)] * array.ndim
        edge[axis] = slice(0, step) if step > 0 else slice(step, None)
        array[tuple(edge)] = 0
    return array


def _only(array: np.ndarray, axes: list[int], index: int) -> np.ndarray:
    place: list[slice | int] = [slice(None)] * array.ndim
    for axis in axes:
        place[axis] = index
    kept = np.zeros_like(array)
    kept[tuple(place)] = array[tuple(place)]
    return kept


def _without(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    return np.asarray(array - _only(array, [axis], index))


def _exchanged(array: np.ndarray, pair: tuple[int, int]) -> np.ndarray | None:
    return array.swapaxes(*pair) if array.shape[pair[0]] == array.shape[pair[1]] else None


def _read_as(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    return array.transpose(order).reshape(array.shape)


def order_along(got: np.ndarray, right: np.ndarray, axis: int, tolerance: float) -> list[int] | None:
    """The slices of got along an axis as those of right in an order: got[i] = right[order[i]]; None if they are not."""
    ours, theirs = (np.moveaxis(each, axis, 0).reshape(each.shape[axis], -1) for each in (got, right))
    far = np.abs(ours[:, None] - theirs[None]).max(axis=2)
    order = far.argmin(axis=1)
    fits = far[np.arange(len(order)), order].max() <= tolerance and len(set(order.tolist())) == len(order)
    return [int(each) for each in order] if fits else None
