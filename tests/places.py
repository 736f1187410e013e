"""Folders of the checkout, and how a command ends, for tests in any depth of `tests/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from epcore.cli import main

TESTS = Path(__file__).parent
ROOT = TESTS.parent
BENCH, DOCS = ROOT / "bench", ROOT / "docs"


def exit_code(arguments: Sequence[str]) -> int:
    """Of a command; where an option is wrong, the parser ends it."""
    try:
        return main(list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
