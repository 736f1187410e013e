"""What is wrong with a student's backward: it runs in the sandbox in every case; its values are compared and explained here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from epcore.exercise import checks
from epcore.exercise.evidence import Explanation, Sample, explains
from epcore.exercise.explain import explain
from epcore.exercise.problem import Problem, problems
from epcore.exercise.regions import exact
from epcore.exercise.sandbox import LIMITS, TOOLS, Answer, Call, Limits, run_calls
from epcore.exercise.separation import separating


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    inputs: whose gradients, none where it is about the call. cases: labels of those in which it is so; right: of those in which
    these gradients are right. clause: what the cases have in common and the others have not. text: what is wrong.

    exact: text is an explanation that gives the student's values. located: it only says where they are wrong. Neither: it says
    what is no gradient at all.
    """

    inputs: tuple[str, ...]
    cases: tuple[str, ...]
    text: str
    right: tuple[str, ...] = ()
    clause: str | None = None
    exact: bool = False
    located: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """findings: none where all is right. right: inputs whose gradients are right in all cases in which they could be looked at.
    printed: what the code printed. samples: the values, for a plot.
    """

    op: str
    cases: tuple[str, ...]
    findings: tuple[Finding, ...]
    right: tuple[str, ...] = ()
    printed: str = ""
    samples: tuple[Sample, ...] = field(default=(), repr=False)


def diagnose(op: str, file: str | os.PathLike[str], *, limits: Limits = LIMITS, tools: Sequence[str] = TOOLS) -> Diagnosis:
    """Of the function `backward` in a file. tools: modules of epcore that it may import.

    Raises ValueError where the file does not run or has no such function, OSError where it cannot be read.
    """
    worked = problems(op)
    calls = [Call("backward", (problem.dy, problem.saved), problem.case.attributes) for problem in worked]
    run = run_calls(file, calls, limits=limits, tools=tools)
    if run.failure is not None:
        raise ValueError(f"{os.fspath(file)} does not run: {run.failure.text}")
    if all(answer.failure is not None and answer.failure.kind == "missing" for answer in run.answers):
        raise ValueError(f"{os.fspath(file)} has no function backward")
    answers = list(zip(worked, run.answers, strict=True))
    troubles, samples = _looked_at(answers)
    findings = [*_grouped(troubles), *_values(samples)]
    named = {name for finding in findings for name in finding.inputs}
    everything = {problem.names[index]: None for problem in worked for index in problem.checked}
    seen = {sample.name for sample in samples}
    right = tuple(name for name in everything if name in seen and name not in named)
    return Diagnosis(op, tuple(p.case.label for p in worked), tuple(findings), right, run.printed, tuple(samples))


class Trouble(NamedTuple):
    """input: "" where it is about the call. hints: what would make it right, in this case."""

    case: str
    input: str
    text: str
    hints: tuple[str, ...] = ()


def _looked_at(answers: Sequence[tuple[Problem, Answer]]) -> tuple[list[Trouble], list[Sample]]:
    """What is wrong before any value is compared, and the gradients that can be."""
    troubles: list[Trouble] = []
    samples: list[Sample] = []
    returned = [(problem, answer) for problem, answer in answers if not checks.of_call(problem, answer)]
    orders = [checks.order(problem, answer) for problem, answer in returned]
    if orders and all(orders):
        return [Trouble(problem.case.label, "", str(what)) for (problem, _), what in zip(returned, orders, strict=True)], []
    for problem, answer in answers:
        label = problem.case.label
        for name in checks.changed(problem, answer):
            troubles.append(Trouble(label, "", f"it changed {name} in place: others still need it"))
        if what := checks.of_call(problem, answer):
            troubles.append(Trouble(label, "", what))
            continue
        for index in problem.checked:
            name, value = problem.names[index], answer.value[index]
            if what := checks.of_gradient(problem, index, value):
                troubles.append(Trouble(label, name, what, tuple(checks.ways_to_right(problem, index, value))))
                continue
            sample = Sample(problem, index, np.asarray(value))
            if sample.coarse:
                troubles.append(Trouble(label, name, _coarse(sample)))
            samples.append(sample)
    return troubles, samples


def _coarse(sample: Sample) -> str:
    text = f"it is of dtype {sample.got.dtype}, dy and what forward saved are {sample.problem.dy.dtype}"
    return f"{text}; to the rounding of {sample.got.dtype} it is right" if sample.is_right else text


def _grouped(troubles: Sequence[Trouble]) -> list[Finding]:
    """Those of one text, numbers apart, are one, with the numbers of the first, and a hint that is true of all of them."""
    found: dict[tuple[str, str], list[Trouble]] = {}
    for each in troubles:
        found.setdefault((each.input, re.sub(r"\d+", "#", each.text.partition(", line ")[0])), []).append(each)
    findings = []
    for group in found.values():
        first = group[0]
        hint = next((hint for hint in first.hints if all(hint in each.hints for each in group)), "")
        said = first.text + (f": {hint}" if hint else "")
        if len({each.text for each in group}) > 1:
            said += " (in the first case; the numbers differ)"
        findings.append(Finding((first.input,) if first.input else (), tuple(each.case for each in group), said))
    return findings


def _values(samples: Sequence[Sample]) -> list[Finding]:
    by_input: dict[str, list[Sample]] = {}
    for sample in samples:
        by_input.setdefault(sample.name, []).append(sample)
    sides = {
        name: ([each for each in found if not each.is_right], [each for each in found if each.is_right])
        for name, found in by_input.items()
    }
    sides = {name: each for name, each in sides.items() if each[0]}
    explained = _shared({name: explain(*each) for name, each in sides.items()}, sides)
    findings: list[Finding] = []
    for name, (failing, passing) in sides.items():
        found = explained[name]
        if found is not None:
            findings.append(_finding(name, failing, passing, found.text, explained=found))
            continue
        alone = _one_by_one(failing)
        for text, group in alone.items():
            findings.append(_finding(name, group, passing, text, explained=Explanation(text, lambda _: None)))
        rest = [each for each in failing if not any(each is one for group in alone.values() for one in group)]
        if rest:
            findings.append(replace(_finding(name, rest, passing, _where(rest)), located=True))
    return _merged(findings)


def _shared(
    found: Mapping[str, Explanation | None], sides: Mapping[str, tuple[list[Sample], list[Sample]]]
) -> dict[str, Explanation | None]:
    """Where one explanation will do for several inputs it does for them all: one mistake has one name."""
    every = [each for each in found.values() if each is not None]

    def reach(each: Explanation) -> int:
        return sum(explains(each.predict, failing) for failing, _ in sides.values())

    chosen = dict(found)
    for each in sorted(every, key=reach, reverse=True):
        if reach(each) < 2:
            break
        for name, (failing, passing) in sides.items():
            own = chosen[name]
            if (
                own is found[name]
                and explains(each.predict, failing)
                and (own is None or explains(each.predict, passing) or not explains(own.predict, passing))
            ):
                chosen[name] = each
    return chosen


def _one_by_one(failing: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Explanations of single cases, where none holds for all: text -> cases."""
    found: dict[str, list[Sample]] = {}
    if len(failing) > 1:
        for sample in failing:
            if (each := explain([sample], [])) is not None:
                found.setdefault(each.text, []).append(sample)
    return found


def _finding(
    name: str, failing: Sequence[Sample], passing: Sequence[Sample], text: str, explained: Explanation | None = None
) -> Finding:
    """The clause is left out where the explanation gives what is right in the other cases as well: then these show nothing."""
    clause = None
    if explained is None or not explains(explained.predict, passing):
        clause = separating([each.problem for each in failing], [each.problem for each in passing])
    labels = tuple(each.problem.case.label for each in failing)
    return Finding(
        (name,), labels, text, tuple(each.problem.case.label for each in passing), clause, exact=explained is not None
    )


def _where(failing: Sequence[Sample]) -> str:
    """What is certain of values that nothing explains."""
    share = sum(int(each.wrong.sum()) for each in failing) / sum(each.got.size for each in failing)
    worst = max(failing, key=lambda each: float(np.abs(each.got - each.right).max()))
    place = np.unravel_index(int(np.abs(worst.got - worst.right).argmax()), worst.got.shape)
    shown = ", ".join(str(int(i)) for i in place)
    relative = max(float(np.abs(each.got - each.right).max() / max(np.abs(each.right).max(), 1e-300)) for each in failing)
    said = f"{share:.0%} of its values are wrong"
    if relative < 1e-4:
        said = f"it is right to {-int(np.floor(np.log10(relative))) - 1} digits only"
    if (region := exact(failing)) is not None:
        said += f", all of them {region.text}"
    return f"{said}; most at [{shown}]: {worst.got[place]:.6g}, expected {worst.right[place]:.6g}"


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Inputs of which the same is to be said. A case in which one of them is wrong is no case in which they are right."""
    found: dict[tuple[object, ...], list[Finding]] = {}
    for each in findings:
        found.setdefault((each.text, each.clause) if each.exact else (each.inputs, each.text), []).append(each)
    merged = []
    for group in found.values():
        cases = tuple(dict.fromkeys(label for each in group for label in each.cases))
        right = tuple(dict.fromkeys(label for each in group for label in each.right if label not in cases))
        inputs = tuple(dict.fromkeys(name for each in group for name in each.inputs))
        merged.append(replace(group[0], inputs=inputs, cases=cases, right=right))
    return merged
