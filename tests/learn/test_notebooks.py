"""The notebooks are those that the texts give; their cells run in order, and with the solutions in them everything passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from places import DOCS
from solved import SOLUTIONS

from epcore.learn.course import stages
from epcore.learn.folder import Folder
from epcore.learn.lesson import Lesson
from epcore.learn.notebook import IN_NOTEBOOKS, main, notebook

FOLDER = DOCS / "notebooks"


def code(text: str) -> list[str]:
    """Its code cells."""
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def execute(cells: list[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), namespace)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the documentation is not beside the tests")
@pytest.mark.parametrize("name", IN_NOTEBOOKS)
def test_they_are_current(name: str) -> None:
    written = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert written == notebook(stages()[name]), "python -m epcore.learn.notebook docs/notebooks"


def test_written_all_together(tmp_path: Path) -> None:
    main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.ipynb" for name in IN_NOTEBOOKS}
    format_5 = json.loads((tmp_path / "tape.ipynb").read_text(encoding="utf-8"))
    assert (format_5["nbformat"], format_5["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in format_5["cells"]}) == len(format_5["cells"])


def test_as_given_nothing_passes_and_nothing_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in IN_NOTEBOOKS:
        execute(code(notebook(stages()[name])))
    said = capsys.readouterr().out
    assert said.count("not yet: ") == sum(len(stages()[name].exercises) for name in IN_NOTEBOOKS)
    assert "right: " not in said


def test_with_the_solutions_everything_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in IN_NOTEBOOKS:
        cells = code(notebook(stages()[name]))
        for exercise in stages()[name].exercises:
            solution = (SOLUTIONS / exercise.file).read_text(encoding="utf-8")
            cells = [cell.replace(exercise.starter.strip(), solution) for cell in cells]
        execute(cells)
        assert "not yet" not in capsys.readouterr().out
    course = Folder.open(Path("epcore-course"))
    assert all(course.done(stages()[name]) for name in IN_NOTEBOOKS)


def test_work_is_not_written_over_by_an_unchanged_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lesson = Lesson("epcore-course")
    solution = (SOLUTIONS / "tape.py").read_text(encoding="utf-8")
    assert lesson.write("tape/tape", solution)
    assert lesson.write("tape/tape", stages()["tape"].exercises[0].starter)
    assert Path("epcore-course/tape.py").read_text(encoding="utf-8") == solution
    lesson.hint("tape/tape")
    assert "hint 1: apply" in capsys.readouterr().out
    with pytest.raises(ValueError, match="is a stage"):
        lesson.write("network", "")
