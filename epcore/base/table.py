"""Tables for terminals: columns are described once, and heads, rows and sums come out aligned."""

from __future__ import annotations

import re


class Table:
    """Columns as Python's format specifications with a width: `Table("<16", ">12,", ">9.1f")`.

    A cell that is a text (a title, "missing") keeps its column's alignment and width; None is shown as "-".
    """

    def __init__(self, *columns: str) -> None:
        self._numbers = columns
        self._texts = [re.sub(r"(?<=\d)[^\d].*", "", column) for column in columns]

    def line(self, *cells: object) -> str:
        """One row, without blanks behind it; the last cells may be left out. Raises ValueError for more cells than columns."""
        if len(cells) > len(self._numbers):
            raise ValueError(f"{len(cells)} cells in {len(self._numbers)} columns")
        shown = ["-" if cell is None else cell for cell in cells]
        columns = zip(shown, self._numbers, self._texts, strict=False)
        return "".join(format(cell, text if isinstance(cell, str) else number) for cell, number, text in columns).rstrip()
