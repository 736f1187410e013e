"""Whole numbers that users give."""

from __future__ import annotations

import re
from typing import Any

import pytest

from epcore.base.checks import check_whole


def test_whole_numbers() -> None:
    assert check_whole(1, "batch") == 1
    assert check_whole(10**9, "batch") == 10**9
    assert [check_whole(value, "phi", 0, 7) for value in (0, 7)] == [0, 7]


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None])
def test_others(value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"batch is {value!r}, expected a whole number above 0")):
        check_whole(value, "batch")


@pytest.mark.parametrize("value", [-1, 8, False])
def test_bounds(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"phi is {value!r}, expected a whole number from 0 to 7 \(so\)$"):
        check_whole(value, "phi", 0, 7, note=" (so)")
