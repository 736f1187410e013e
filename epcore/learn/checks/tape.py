"""The tape: small graphs whose gradients are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.exercise.sandbox import Call
from epcore.learn.compare import difference
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict


@dataclass(frozen=True)
class Scenario:
    """name: in the driver. graph: for messages. right: gradients (None: there is none), or the one value. hint: what is wrong
    where they differ."""

    name: str
    graph: str
    arrays: tuple[np.ndarray, ...]
    right: Any
    hint: str = ""


def scenarios() -> list[Scenario]:
    """All of them, the simplest first."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    one = np.ones_like(x)
    return [
        Scenario("values", "3 x^2", (x,), 3 * x * x, "apply gives a tensor whose data is y, with the attributes passed on"),
        Scenario("chain", "sum of 3 x^2", (x,), [6 * x]),
        Scenario("two", "sum of x w", (x, w), [w, x], "each input has a gradient of its own, in the order of the inputs"),
        Scenario("twice", "sum of x x + x", (x,), [2 * x + 1], "x was used three times: its gradients are added"),
        Scenario("shared", "sum of (x + w) + x", (x, w), [2 * one, one],
                 "add hands one array to both inputs: what is added to in place changes the other's gradient"),
        Scenario("diamond", "sum of a (2 a), a = x^2", (x,), [8 * x**3], "all gradients of a come before its record"),
        Scenario("constant", "sum of 4 x, where the 4 is a plain array", (x,), [4 * one]),
        Scenario("data", "sum of x mask, where mask and a missing input have no gradient", (x,), [0.5 * one]),
        Scenario("unused", "sum of x^2, and w^2 beside it", (x, w), [2 * x, None], "w has no gradient: None"),
        Scenario("again", "backward called twice", (x,), "RuntimeError", "what was saved is gone"),
        Scenario("released", "memory after backward", (x,), True,
                 "what forward saved is still held: drop every record when it has been visited"),
    ]  # fmt: skip


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of the student's `Tape`."""
    worked = scenarios()
    calls = [Call(each.name, each.arrays) for each in worked]
    run = student.run(calls, driver="epcore.learn.drivers.tape:run")
    if run.failure is not None:
        return Verdict((Finding.failed(exercise.file, run.failure),))
    findings = []
    for scenario, answer in zip(worked, run.answers, strict=True):
        if answer.failure is not None:
            findings.append(Finding.failed(exercise.file, answer.failure, scenario.graph))
        else:
            hint = f" ({scenario.hint})" if scenario.hint else ""
            said = [f"{scenario.graph}: {what}{hint}" for what in _wrong(answer.value, scenario.right)]
            findings += [Finding(exercise.file, None, text) for text in said[:1]]
    return Verdict(tuple(findings), () if findings else (f"values and gradients of {len(worked)} graphs are right",))


def _wrong(got: Any, right: Any) -> Iterator[str]:
    if isinstance(right, str):
        if got != right:
            yield f"it raised {got}, expected {right}"
    elif isinstance(right, bool):
        if got is not right:
            yield "it is not so"
    elif isinstance(right, np.ndarray):
        if what := difference(got, right):
            yield f"the value: {what}"
    else:
        for i, (mine, expected) in enumerate(zip(got, right, strict=True)):
            what = (
                difference(mine, expected) if expected is not None else "" if mine is None else "it is an array, expected None"
            )
            if what:
                yield f"the gradient of {'xw'[i]}: {what}"
