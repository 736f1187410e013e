"""The course as data: its stages in order, and their exercises. The texts lie in `stages/NAME.toml`.

A stage's file has title, text, read (places to read, a list), unlocks, and a list of exercises: name, file (in the student's
folder), write (what is to be written), hints, starter (what the file holds at first), read. Exercises about an operator, or
about a CUDA kernel, take the rest from the operator's page and the kernel's files: `operators`, `kernels`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from epcore.learn import kernels, operators

NAMES = ("forward", "backward", "tape", "network", "training", "numba", "cuda", "port", "pose")
FOLDER = Path(__file__).with_name("stages")


@dataclass(frozen=True)
class Exercise:
    """file: in the student's folder. read: places. write: what. hints: open one by one. starter: the file's text at first."""

    stage: str
    name: str
    file: str
    read: tuple[str, ...]
    write: str
    hints: tuple[str, ...]
    starter: str

    @property
    def key(self) -> str:
        """As the command line calls it."""
        return f"{self.stage}/{self.name}"


@dataclass(frozen=True)
class Stage:
    """text: what it is about, Markdown. unlocks: what one can do after it."""

    name: str
    title: str
    text: str
    read: tuple[str, ...]
    unlocks: str
    exercises: tuple[Exercise, ...]


@cache
def stages() -> dict[str, Stage]:
    """By name, in order."""
    return {name: _stage(name) for name in NAMES if (FOLDER / f"{name}.toml").is_file()}


def exercises() -> list[Exercise]:
    """Of all stages, in order."""
    return [exercise for stage in stages().values() for exercise in stage.exercises]


def chosen(name: str) -> list[Exercise]:
    """The exercises of a stage, or the one of this key ("forward/swish"). Raises ValueError for an unknown name."""
    if name in stages():
        return list(stages()[name].exercises)
    found = [exercise for exercise in exercises() if exercise.key == name]
    if not found:
        stage = stages().get(name.partition("/")[0])
        known = [each.key for each in stage.exercises] if stage else list(stages())
        raise ValueError(f"there is no stage or exercise {name!r}: expected one of {', '.join(known)}")
    return found


def _stage(name: str) -> Stage:
    content = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    given: list[dict[str, Any]] = content.get("exercise", [])
    if name in ("forward", "backward"):
        given = operators.completed(given, name)
    elif name == "cuda":
        given = kernels.completed(given)
    made = tuple(
        Exercise(
            name, each["name"], each["file"], tuple(each["read"]), each["write"].strip(), tuple(each["hints"]), each["starter"]
        )
        for each in given
    )
    return Stage(name, content["title"], content["text"].strip(), tuple(content["read"]), content["unlocks"], made)
