"""A student's folder: one file for each thing to write, and the progress.

course = Folder.start(path)         # or Folder.open(path)
course.open_stage("tape")           # writes what is not there yet
course.check(exercise)              # and remembers what passes
"""

from __future__ import annotations

from pathlib import Path

from epcore.base.staging import write_atomically
from epcore.learn import progress
from epcore.learn.checks import check
from epcore.learn.course import Exercise, Stage, exercises, stages
from epcore.learn.verdict import Verdict


class Folder:
    """path: of the folder. state: the progress, as it is in the file."""

    def __init__(self, path: Path, state: progress.Progress) -> None:
        self.path, self.state = path, state

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Raises FileNotFoundError where no course was started there, ValueError where its progress is damaged."""
        state = progress.read(path)
        if state is None:
            raise FileNotFoundError(f"no course was started in {path}: `epcore learn` starts one (--folder names its folder)")
        return cls(path, state)

    @classmethod
    def start(cls, path: Path) -> Folder:
        """A new course, whose first stage is open. Raises OSError."""
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path, progress.Progress())
        folder.open_stage(next(iter(stages())))
        return folder

    def open_stage(self, name: str) -> list[str]:
        """Write the files of a stage that are not there yet: their names. Files that are there stay as they are."""
        written = []
        for exercise in stages()[name].exercises:
            place = self.path / exercise.file
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(place, exercise.starter)
                written.append(exercise.file)
        if name not in self.state.opened:
            self.state.opened.append(name)
        progress.write(self.path, self.state)
        return written

    def check(self, exercise: Exercise) -> Verdict:
        """Of the student's file as it is now. What passes is remembered, with the file's digest; what fails is forgotten."""
        before = progress.digest(self.path / exercise.file)
        verdict = check(exercise, self.path)
        if verdict.passed:
            self.state.passed[exercise.key] = before
        else:
            self.state.passed.pop(exercise.key, None)
        progress.write(self.path, self.state)
        return verdict

    def next_hint(self, exercise: Exercise) -> tuple[int, str] | None:
        """(number from 1, text) of the next hint, None where all are open."""
        opened = self.state.hints.get(exercise.key, 0)
        if opened >= len(exercise.hints):
            return None
        self.state.hints[exercise.key] = opened + 1
        progress.write(self.path, self.state)
        return opened + 1, exercise.hints[opened]

    def hints(self, exercise: Exercise) -> tuple[str, ...]:
        """Those that are open."""
        return exercise.hints[: self.state.hints.get(exercise.key, 0)]

    def passed(self, exercise: Exercise) -> bool:
        return exercise.key in self.state.passed

    def changed(self, exercise: Exercise) -> bool:
        """Whether the file is another one than that which passed."""
        return self.passed(exercise) and self.state.passed[exercise.key] != progress.digest(self.path / exercise.file)

    def done(self, stage: Stage) -> bool:
        return all(self.passed(exercise) for exercise in stage.exercises)

    def current(self) -> Exercise | None:
        """The first that has not passed, of the stages that are open before the others; None where all have."""
        left = [exercise for exercise in exercises() if not self.passed(exercise)]
        opened = [exercise for exercise in left if exercise.stage in self.state.opened]
        return next(iter(opened or left), None)

    def unlock(self) -> list[Stage]:
        """Open the first stage that is not open yet, where all before it are done: what was opened."""
        for stage in stages().values():
            if stage.name not in self.state.opened:
                self.open_stage(stage.name)
                return [stage]
            if not self.done(stage):
                break
        return []
