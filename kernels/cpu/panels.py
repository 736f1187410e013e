"""Columns of a matrix as panels of one to three vectors: how they are cut, packed, and handed to the code of their width.

A register tile holds a few pixels times the vectors of one panel, so three vectors keep most registers busy. Columns are
covered by `full` panels of `full_vectors`, one after the other, and `rest` panels of `rest_vectors`. Where the number of
columns is no multiple of LANES vectors overlap: the last panel begins early, or (where it is the only one) its vectors stand
closer. A few columns are then computed twice, to the same value, and none needs a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from epcore.kernels.cpu.jit import inlined, serial_kernel
from epcore.kernels.cpu.processor import LANES


class Panels(NamedTuple):
    """Full panel p begins at column p * full_vectors * LANES and its vectors follow each other; rest panel r begins at
    rest_start + r * rest_distance and its vectors are rest_step apart. Records of plans hold the same fields."""

    full: int
    full_vectors: int
    rest: int
    rest_vectors: int
    rest_start: int
    rest_distance: int
    rest_step: int


def cut(columns: int) -> Panels:
    """Panels for this many columns, as wide as they can be. Raises ValueError for fewer than LANES."""
    if columns < LANES:
        raise ValueError(f"{columns} columns are narrower than a vector of {LANES}")
    vectors = -(-columns // LANES)
    if vectors == 1:
        return Panels(0, 3, 1, 1, 0, 0, LANES)
    if vectors == 2:
        return Panels(0, 3, 1, 2, 0, 0, columns - LANES)
    if vectors == 3 and columns % LANES:
        if (columns - LANES) % 2:  # three vectors cannot be spread evenly: two, and a third that overlaps
            return Panels(1, 2, 1, 1, columns - LANES, 0, LANES)
        return Panels(0, 3, 1, 3, 0, 0, (columns - LANES) // 2)
    rest, width = ((1, 3), (2, 2), (1, 2))[vectors % 3]
    if rest * width == 3 and columns % LANES == 0:
        return Panels(vectors // 3, 3, 0, 3, columns, 0, LANES)
    full = (vectors - rest * width) // 3
    last = columns - width * LANES
    start = full * 3 * LANES if rest == 2 else last
    return Panels(full, 3, rest, width, start, last - start, LANES)


@inlined
def place(panels, number):  # type: ignore[no-untyped-def]  # Panels or a record with its fields
    """(first column, columns between its vectors, vectors) of a panel."""
    if number < panels.full:
        return number * panels.full_vectors * LANES, LANES, panels.full_vectors
    return panels.rest_start + (number - panels.full) * panels.rest_distance, panels.rest_step, panels.rest_vectors


@inlined
def vectors_before(panels, number):  # type: ignore[no-untyped-def]
    """Vectors of all panels before this one: its packed weights begin at as many times depth * LANES."""
    if number < panels.full:
        return number * panels.full_vectors
    return panels.full * panels.full_vectors + (number - panels.full) * panels.rest_vectors


@serial_kernel
def _pack(w: np.ndarray, panels: Panels, packed: np.ndarray) -> None:
    to = 0
    for number in range(panels.full + panels.rest):
        first, step, width = place(panels, number)
        for k in range(w.shape[0]):
            for v in range(width):
                for lane in range(LANES):
                    packed[to] = w[k, first + v * step + lane]
                    to += 1


def pack(w: np.ndarray, panels: Panels) -> np.ndarray:
    """w (depth, columns) float32 -> flat: panel after panel, in each all rows, in each row the panel's vectors."""
    vectors = panels.full * panels.full_vectors + panels.rest * panels.rest_vectors
    packed = np.empty(w.shape[0] * vectors * LANES, np.float32)
    _pack(np.ascontiguousarray(w), panels, packed)
    return packed


def by_width(make: Callable[[int], Any]) -> Any:
    """make(vectors) compiles the code for panels of so many vectors; run(vectors, arguments), the result, chooses one."""
    one, two, three = make(1), make(2), make(3)

    @inlined
    def run(vectors, arguments):  # type: ignore[no-untyped-def]
        if vectors == 3:
            three(*arguments)
        elif vectors == 2:
            two(*arguments)
        else:
            one(*arguments)

    return run
