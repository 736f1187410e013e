"""A backward: what the diagnosis of `epcore exercise` finds."""

from __future__ import annotations

import re

from epcore.exercise.diagnose import Finding as Diagnosed
from epcore.exercise.diagnose import diagnose
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of an operator's `backward`, which is given what the reference forward saves."""
    try:
        diagnosis = diagnose(exercise.name, student.file)
    except ValueError as error:  # the file does not run
        text = str(error).removeprefix(f"{student.file} ")
        return Verdict((Finding(exercise.file, _line(text), text),))
    student.printed += diagnosis.printed
    findings = tuple(Finding(exercise.file, _line(each.text), _said(each)) for each in diagnosis.findings)
    notes = () if findings else (f"all gradients are right in {len(diagnosis.cases)} cases",)
    return Verdict(findings, notes)


def _line(text: str) -> int | None:
    """The line that a failure names (`epcore.exercise.sandbox.Failure`)."""
    named = re.search(r", line (\d+)(?:: |$)", text)
    return int(named[1]) if named else None


def _said(found: Diagnosed) -> str:
    who = ", ".join(f"d{name}" for name in found.inputs) or "backward"
    total = len(found.cases) + len(found.right)
    where = (
        f" (wrong in {len(found.cases)} of {total} cases{f', those {found.clause}' if found.clause else ''})"
        if found.right
        else ""
    )
    return f"{who}{where}: {found.text}"
