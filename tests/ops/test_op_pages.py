"""Operators' pages: all sections in order, the names of the code, nothing of the derivation in an exercise."""

from __future__ import annotations

import inspect
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from places import DOCS

import epcore.ops
from epcore.exercise.stub import stub
from epcore.op import Op, read_page
from epcore.ops import OPS

PAGE = """Title.

Equation:
    y = x

Symbols:
    x

Derivation:
    a

      b

Saved:
    x

Cost:
    one

Source:
    me
"""

every_operator = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


def test_every_file_is_an_operator() -> None:
    files = Path(epcore.ops.__file__).parent.glob("*.py")
    assert {path.stem for path in files} - {"__init__"} == set(OPS)


@every_operator
def test_sections_in_order(op: Op) -> None:
    page = op.page
    assert "y" in page.equation
    assert re.search(r"\bd\w+", page.derivation)


@every_operator
def test_symbols_are_the_codes_names(op: Op) -> None:
    """Every input is in the equation or among the symbols; every input with a gradient is derived by that name."""
    page = op.page
    for name in [name.partition("[")[0] for name in op.array_names(2)]:
        symbol = "x_i" if name == "xs" else name
        assert re.search(rf"\b{symbol}\b", page.equation + page.symbols), symbol


@every_operator
def test_saved_is_what_forward_returns(op: Op) -> None:
    names, _, _ = op.page.saved.partition("\n")
    returned = [line for line in inspect.getsource(op.forward).splitlines() if line.strip().startswith("return")][-1]
    for name in names.split(", "):
        if re.fullmatch(r"\w+", name) and name != "nothing":
            assert re.search(rf"\b{name}\b", returned.partition(", ")[2]), (name, returned)


@every_operator
def test_shapes_stand_above_every_product(op: Op) -> None:
    lines = Path(inspect.getfile(op.forward)).read_text(encoding="utf-8").partition("from __future__")[2].splitlines()
    for above, line in pairwise(lines):
        if " @ " in line.partition("#")[0] or re.search(r"(matmul|dot)_in_double\(", line):
            assert re.match(r" +# .*\).* [@*] \(", above), line


def test_docs_say_what_is_saved() -> None:
    text = (DOCS / "gradients.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\w+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    said = {op: saved for op, saved, _ in table if op in OPS}
    assert said == {op.name: op.page.saved.partition("\n")[0] for op in OPS.values()}
    nothing = OPS["add"].keeps  # the default
    free = {op for op, _, size in table if op in OPS and size == "none"}
    assert free == {op.name for op in OPS.values() if op.keeps is nothing}


@every_operator
def test_stub_shows_all_but_the_derivation(op: Op) -> None:
    text, page = stub(op.name), op.page
    shown = {line.strip() for line in text.splitlines()}
    for section in (page.equation, page.symbols, page.saved):
        assert {line.strip() for line in section.splitlines()} <= shown
    derived = {line.strip() for line in page.derivation.splitlines() if line.strip()}
    assert not derived & shown
    for symbol in set(re.findall(r"(\bd\w+)(?:\[[^\]]*\])? +\+?= ", page.derivation)):
        assert not re.search(rf"\b{symbol}(\[[^\]]*\])? +\+?= ", text), symbol


class TestReadPage:
    def test_sections(self) -> None:
        page = read_page(PAGE)
        assert (page.title, page.equation, page.derivation, page.source) == ("Title.", "y = x", "a\n\n  b", "me")

    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            ("Cost:\n    one\n\n", "", "derivation, saved, source: expected equation,"),
            ("Cost:", "Price:", "saved, price, source: expected"),
            ("Saved:\n    x\n\nCost:\n    one", "Cost:\n    one\n\nSaved:\n    x", "cost, saved, source: expected"),
            ("    one\n", "", "cost is empty"),
            ("Title.", "", "title is empty"),
        ],
    )
    def test_what_is_wrong_is_named(self, before: str, after: str, message: str) -> None:
        assert before in PAGE
        with pytest.raises(ValueError, match=message):
            read_page(PAGE.replace(before, after))

    def test_without_docstrings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules["epcore.ops.swish"], "__doc__", None)
        with pytest.raises(ValueError, match="page of swish: its file has no docstring"):
            _ = OPS["swish"].page
