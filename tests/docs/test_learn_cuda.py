"""docs/learn-cuda.md is true: its lines run, its kinds are those there are, its links lead somewhere."""

from __future__ import annotations

import doctest
import re

import pytest
from cuda_on_host.devices import require_compiler
from places import DOCS

from epcore.learn.cuda.counts import Counts

PAGE = DOCS / "learn-cuda.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not beside the tests")


def test_every_line_runs() -> None:
    require_compiler()
    failures, attempted = doctest.testfile(str(PAGE), module_relative=False)
    assert attempted > 12
    assert failures == 0


def test_every_count_is_explained() -> None:
    explained = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([a-z_, ]+) \|", PAGE.read_text(), re.M))))
    assert {name for name in vars(Counts()) if not name.startswith("shared")} <= explained


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE.read_text())
    assert len(links) > 3
    assert not [link for link in links if not (DOCS / link).is_file()]
