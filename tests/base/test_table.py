"""Heads and rows of a table stand under each other."""

from __future__ import annotations

import pytest

from epcore.base.table import Table


def test_texts_and_numbers_share_a_column() -> None:
    table = Table("<8", ">8,", ">8.1e", ">8.1%", "")
    assert table.line("name", "count", "error", "share", "") == "name       count   error   share"
    assert table.line("a", 12345, 0.00123, 0.5, "  bad") == "a         12,345 1.2e-03   50.0%  bad"
    assert table.line("a", None, "missing", 1) == "a              - missing  100.0%"
    assert table.line("a") == "a"
    assert table.line() == ""


def test_the_width_is_of_the_whole_column() -> None:
    assert Table("<12.3f", ">5").line(1.5, "x") == f"{1.5:<12.3f}    x"
    assert Table("<12.3f", ">5").line("text", "x") == f"{'text':<12}    x"


def test_more_cells_than_columns_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 cells in 2 columns"):
        Table("<3", "<3").line("a", "b", "c")
