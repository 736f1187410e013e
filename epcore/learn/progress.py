"""What a student has opened, passed and been told: a file in the student's folder, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from epcore.base.json_text import json_text
from epcore.base.staging import write_atomically

FILE = "progress.json"
FORMAT = "epcore course 1"


@dataclass
class Progress:
    """opened: stages. passed: exercise -> digest of the file that passed. hints: exercise -> how many were opened."""

    opened: list[str] = field(default_factory=list)
    passed: dict[str, str] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)


def read(folder: Path) -> Progress | None:
    """None where the folder holds no course. Raises ValueError, naming the file, where it is damaged; OSError."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return _understood(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged: {error}. Your files are not touched by that: remove it, and `epcore learn check --all` finds "
            "again what passes"
        ) from None


def write(folder: Path, progress: Progress) -> None:
    """Raises OSError."""
    content = {"format": FORMAT, "opened": progress.opened, "passed": progress.passed, "hints": progress.hints}
    write_atomically(folder / FILE, json_text(content))


def digest(path: Path) -> str:
    """Of a file's content, "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _understood(content: object) -> Progress:
    match content:
        case {"format": str(form), "opened": list(opened), "passed": dict(passed), "hints": dict(hints)}:
            if form != FORMAT:
                raise ValueError(f"its format is {form!r}, expected {FORMAT!r}")
            if all(isinstance(each, str) for each in (*opened, *passed, *passed.values(), *hints)) and all(
                type(each) is int and each >= 0 for each in hints.values()
            ):
                return Progress(opened, passed, hints)
    raise ValueError("it does not hold opened, passed and hints as this course writes them")
