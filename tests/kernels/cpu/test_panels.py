"""Panels: every column is covered, packed weights lie where the panel looks for them, no panel is wider than it has to be."""

from __future__ import annotations

import numpy as np
import pytest

from epcore.kernels.cpu import panels
from epcore.kernels.cpu.processor import LANES

COLUMNS = [*range(LANES, 8 * LANES + 1), 240, 288, 336, 384, 480]


@pytest.mark.parametrize("columns", COLUMNS)
def test_every_column_is_covered_and_packed_where_it_is_read(columns: int) -> None:
    cut = panels.cut(columns)
    matrix = np.arange(2 * columns, dtype=np.float32).reshape(2, columns)
    packed = panels.pack(matrix, cut)
    seen = np.zeros(columns, int)
    end = 0
    for number in range(cut.full + cut.rest):
        first, step, width = panels.place.py_func(cut, number)
        assert panels.vectors_before.py_func(cut, number) * 2 * LANES == end
        block = packed[end : end + 2 * width * LANES].reshape(2, width, LANES)
        end += block.size
        for v in range(width):
            at = first + v * step
            np.testing.assert_array_equal(block[:, v], matrix[:, at : at + LANES])
            seen[at : at + LANES] += 1
    assert end == packed.size
    assert seen.min() == 1


@pytest.mark.parametrize("columns", COLUMNS)
def test_panels_are_wide_and_little_is_computed_twice(columns: int) -> None:
    """One vector alone keeps too few sums to hide a multiply-add's latency: only where nothing else is possible."""
    cut = panels.cut(columns)
    vectors = cut.full * cut.full_vectors + cut.rest * cut.rest_vectors
    assert vectors == -(-columns // LANES)
    if vectors != 3:
        assert min(width for count, width in ((cut.full, cut.full_vectors), (cut.rest, cut.rest_vectors)) if count) == min(
            vectors, 2 if vectors % 3 else 3
        )


def test_too_few_columns() -> None:
    with pytest.raises(ValueError, match=f"{LANES - 1} columns are narrower than a vector of {LANES}"):
        panels.cut(LANES - 1)
