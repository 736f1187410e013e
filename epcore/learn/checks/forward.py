"""A forward: y and what is saved, in every case of the gradient check, against the reference in double."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from epcore.exercise.sandbox import Answer, Call
from epcore.exercise.stub import saved_tuple
from epcore.gradcheck import Case, cases
from epcore.learn.compare import difference
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict
from epcore.ops import OPS

_MOST = 5  # cases that are named


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of an operator's `forward`."""
    worked = _cases(exercise.name)
    run = student.run([Call("forward", case.arrays, case.attributes) for case in worked])
    if run.failure is not None:
        return Verdict((Finding.failed(exercise.file, run.failure),))
    found: dict[str, list[tuple[str, Finding]]] = {}  # what is wrong -> (case, finding): one mistake is said once
    for case, answer in zip(worked, run.answers, strict=True):
        if answer.failure is not None:
            finding = Finding.failed(exercise.file, answer.failure, "forward")
            found.setdefault(answer.failure.text, []).append((case.label, finding))
            continue
        for what in _wrong(case, answer):
            found.setdefault(what.partition(":")[0], []).append((case.label, Finding(exercise.file, None, what)))
    labels = [case.label for case in worked]
    findings = tuple(_named(group, labels) for group in found.values())
    return Verdict(findings, () if findings else (f"y and what is saved are right in {len(worked)} cases",))


def _cases(name: str) -> list[Case]:
    """Those of the gradient check, and each with the sign of its first array reversed."""
    given = [case for case in cases() if case.op == name]
    return given + [replace(case, label=f"{case.label}, -x", arrays=(-case.arrays[0], *case.arrays[1:])) for case in given]


def _named(group: list[tuple[str, Finding]], labels: list[str]) -> Finding:
    """The first finding of those that are alike, with the cases in which it is so, and in which not."""
    wrong = [label for label, _ in group]
    right = [label for label in labels if label not in wrong]
    first = group[0][1]
    where = f" (case {wrong[0]}; right in {'; '.join(right[:_MOST])}{' ...' if len(right) > _MOST else ''})" if right else ""
    return replace(first, message=f"{first.message}{where}")


def _wrong(case: Case, answer: Answer) -> Iterator[str]:
    y, saved = OPS[case.op].forward(*case.arrays, **case.attributes)
    for name, before, after in zip(OPS[case.op].array_names(len(case.arrays)), case.arrays, answer.arguments, strict=True):
        if isinstance(before, np.ndarray) and not np.array_equal(before, after):
            yield f"it changed {name} in place: others still read it"
    if not isinstance(answer.value, tuple) or len(answer.value) != 2:
        yield f"it returned {_kind(answer.value)}, expected two things: y and the tuple of what is saved"
        return
    if what := difference(answer.value[0], np.asarray(y)):
        yield f"y: {what}"
    if not _same(answer.value[1], saved):
        yield f"what is saved is not {saved_tuple(OPS[case.op].forward)}: backward is given that"


def _same(got: Any, saved: tuple[Any, ...]) -> bool:
    if not isinstance(got, tuple | list) or len(got) != len(saved):
        return False
    return all(_equal(mine, right) for mine, right in zip(got, saved, strict=True))


def _equal(mine: Any, right: Any) -> bool:
    if isinstance(right, np.ndarray | np.generic):
        return not difference(mine, np.asarray(right))
    if isinstance(right, tuple):
        return isinstance(mine, tuple | list) and len(mine) == len(right) and all(map(_equal, mine, right))
    return bool(mine == right) if not isinstance(mine, np.ndarray) else False


def _kind(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) else f"one {type(value).__name__}"
