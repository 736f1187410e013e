"""docs/kernels.md is true: its lines run, what it quotes stands in the files, what it counts is what the code has."""

from __future__ import annotations

import doctest
import re

import pytest
from places import DOCS

from epcore.kernels.cpu import panels
from epcore.kernels.cpu.processor import Processor, choices

PAGE = DOCS / "kernels.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not beside the tests")


def test_every_line_runs() -> None:
    failures, attempted = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted > 15
    assert failures == 0


def test_links_lead_to_files_that_hold_the_names() -> None:
    links = re.findall(r"\[`?([^\]`]+)`?\]\(([^)#]+)\)", PAGE.read_text())
    assert len(links) > 12
    for text, target in links:
        path = (DOCS / target).resolve()
        assert path.is_file(), target
        if path.suffix in (".py", ".cu") and re.fullmatch(r"\w+", text):
            assert re.search(rf"^(\w+ )*(def |class )?{text}\b *[(:=]|__global__[^;]*\b{text}\(", path.read_text(), re.M), text


def test_quoted_lines_stand_in_their_files() -> None:
    quotes = re.findall(r"^    (?:#|//) (\S+\.(?:py|cu))\n((?:    .+\n)+)", PAGE.read_text(), re.M)
    assert len(quotes) == 5
    for file, lines in quotes:
        source = [line.strip() for line in (DOCS.parent / file).read_text().splitlines()]
        for line in lines.splitlines():
            assert line.strip() in source, f"{file}: {line.strip()}"


def test_table_of_choices() -> None:
    rows = re.findall(r"^\| (lanes|tile rows|strip) \| (\d+) \| (\d+) \|", PAGE.read_text(), re.M)
    families = [Processor.from_llvm("x86_64", "", features) for features in ("+avx512f,+fma", "+avx2,+fma")]
    found = {name: tuple(str(choices(family)[name]) for family in families) for name, *_ in rows}
    assert found == {name: (wide, narrow) for name, wide, narrow in rows}
    assert len(rows) == 3


def test_drawn_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "LANES", 16)
    cut = panels.cut(112)
    assert (cut.full, cut.full_vectors, cut.rest, cut.rest_vectors, cut.rest_start, cut.rest_distance) == (1, 3, 2, 2, 48, 32)
    cut = panels.cut(40)
    assert (cut.full, cut.rest, cut.rest_vectors, cut.rest_start, cut.rest_step) == (0, 1, 3, 0, 12)
