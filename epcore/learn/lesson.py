"""The course from within a notebook: what a cell says goes into the student's file, and is checked there.

lesson = Lesson("epcore-course")
lesson.write("forward/swish", SOURCE)       # and the verdict is printed
lesson.hint("forward/swish")
"""

from __future__ import annotations

import os
from pathlib import Path

from epcore.base.staging import write_atomically
from epcore.learn import progress
from epcore.learn.course import Exercise, chosen
from epcore.learn.folder import Folder
from epcore.learn.text import verdict_text


class Lesson:
    """A course's folder, started where there is none."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        path = Path(folder)
        self.folder = Folder.open(path) if (path / progress.FILE).exists() else Folder.start(path)

    def write(self, key: str, source: str) -> bool:
        """Write the exercise's file, check it, print what was found: whether it passes. Raises ValueError for a wrong key.

        A file that is there is not written over by what the exercise began with, by a cell that is run unchanged.
        """
        exercise = _one(key)
        place = self.folder.path / exercise.file
        if not (place.exists() and source.strip() == exercise.starter.strip()):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, source.lstrip("\n"))
        return self.check(key)

    def check(self, key: str) -> bool:
        """The same of the file as it is."""
        exercise = _one(key)
        verdict = self.folder.check(exercise)
        print(verdict_text(exercise, verdict))
        return verdict.passed

    def hint(self, key: str) -> None:
        """Print the next hint."""
        hint = self.folder.next_hint(_one(key))
        print(f"hint {hint[0]}: {hint[1]}" if hint else "there is no further hint")


def _one(key: str) -> Exercise:
    found = chosen(key)
    if len(found) != 1 or found[0].key != key:
        raise ValueError(f"{key!r} is a stage: name one of its exercises, {', '.join(each.key for each in found)}")
    return found[0]
