"""The first hour of docs/learn.md is what happens: its files are written, its commands run, their outputs compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import DOCS

from epcore.cli import main
from epcore.learn.course import stages

PAGE = DOCS / "learn.md"
PARTS = re.compile(
    r"^`(?P<name>\S+)`:\n\n```python\n(?P<source>.*?)^```$|^```console\n(?P<console>.*?)^```$", re.MULTILINE | re.DOTALL
)

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not beside the tests")


def first_hour() -> str:
    return PAGE.read_text(encoding="utf-8").split("### The first hour\n")[1].split("\n## ")[0]


def runs(console: str) -> list[tuple[str, str]]:
    """(command, its output) of one block."""
    found = re.split(r"^\$ (.*)\n", console, flags=re.MULTILINE)
    return list(zip(found[1::2], found[2::2], strict=True))


def test_the_first_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    place, commands = tmp_path, 0
    for part in PARTS.finditer(first_hour()):
        if part["name"]:
            assert (place / part["name"]).is_file(), f"the course did not write {part['name']}"
            (place / part["name"]).write_text(part["source"], encoding="utf-8")
            continue
        for command, output in runs(part["console"]):
            if command.startswith("cd "):
                place /= command.removeprefix("cd ")
                monkeypatch.chdir(place)
                continue
            commands += 1
            capsys.readouterr()
            assert main(command.removeprefix("epcore ").split()) in (0, 1)
            assert "".join(capsys.readouterr()) == output, command
    assert commands > 10


def test_the_table_has_every_stage() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for stage in stages().values():
        assert f"| `{stage.name}` | {stage.title} | {stage.unlocks} |" in page
