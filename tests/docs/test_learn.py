"""docs/learn.md does what it says: every line of it is run."""

from __future__ import annotations

import doctest

import pytest
from places import DOCS

PAGE = DOCS / "learn.md"


def test_learning_path() -> None:
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside the tests")
    failures, attempted = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted > 40
    assert failures == 0
