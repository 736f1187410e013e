"""Folders of the checkout, for tests in any depth of `tests/`."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
BENCH, DOCS = ROOT / "bench", ROOT / "docs"
