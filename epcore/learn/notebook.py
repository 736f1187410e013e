"""Stages as Jupyter notebooks, from the same texts as the command; `python -m epcore.learn.notebook FOLDER` writes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from epcore.base.staging import write_atomically
from epcore.learn.course import Exercise, Stage, stages

IN_NOTEBOOKS = ("forward", "backward", "tape", "network", "training")
SETUP = """from epcore.learn.lesson import Lesson

lesson = Lesson("epcore-course")  # the folder that your files are written to"""


def notebook(stage: Stage) -> str:
    """The text of its .ipynb file: what the stage is about, then each exercise with a cell to fill."""
    read = "\n".join(f"* {place}" for place in stage.read)
    cells = [_text(f"# {stage.title}\n\n{stage.text}\n\nRead:\n\n{read}"), _code(SETUP)]
    for exercise in stage.exercises:
        cells += [_text(_described(exercise)), _code(_cell(stage, exercise))]
    cells.append(_text(f"Then: {stage.unlocks}."))
    for number, cell in enumerate(cells):
        cell["id"] = f"{stage.name}-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _described(exercise: Exercise) -> str:
    read = "\n".join(f"* {place}" for place in exercise.read)
    return f"## {exercise.key}\n\n{exercise.write}\n\nRead:\n\n{read}\n\nStuck: `lesson.hint({exercise.key!r})`"


def _cell(stage: Stage, exercise: Exercise) -> str:
    """The starter to fill; where an earlier stage began the same file, only its check."""
    before = [each for name, each in stages().items() if name in IN_NOTEBOOKS[: IN_NOTEBOOKS.index(stage.name)]]
    if any(exercise.file == each.file for earlier in before for each in earlier.exercises):
        where = f"# it belongs into {exercise.file}, which holds your forward: write it there, then run this cell"
        return f"{where}\nlesson.check({exercise.key!r})"
    return f"lesson.write({exercise.key!r}, r'''\n{exercise.starter.strip()}\n''')"


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def _code(source: str) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines}


def main(folder: Path) -> None:
    """Write the notebooks of all stages that have one."""
    for name in IN_NOTEBOOKS:
        write_atomically(folder / f"{name}.ipynb", notebook(stages()[name]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
