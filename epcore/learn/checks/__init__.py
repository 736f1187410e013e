"""One file a kind of exercise: each runs the student's code in a process of its own and compares what it gives here."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict


def check(exercise: Exercise, folder: Path) -> Verdict:
    """Of the student's file in this folder. Raises OSError where a process cannot be started, or a compiler is missing."""
    if not (folder / exercise.file).is_file():
        return Verdict((Finding(exercise.file, None, "there is no such file: `epcore learn open` writes it"),))
    student = Student(folder / exercise.file)
    verdict: Verdict = import_module(f"epcore.learn.checks.{exercise.stage}").check(exercise, student)
    return replace(verdict, printed=student.printed)
