"""Kernels that Numba compiles: right against the reference in double, then measured beside the machine and epcore."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.exercise.sandbox import Call, Limits
from epcore.kernels.cpu import conv2d, depthwise_conv2d, swish
from epcore.learn.compare import SINGLE, difference
from epcore.learn.course import Exercise
from epcore.learn.drivers.kernels import best
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict
from epcore.ops import conv2d as conv2d_reference
from epcore.ops import depthwise_conv2d as depthwise_reference
from epcore.ops import swish as swish_reference
from epcore.threads import threads_within

LIMITS = Limits(seconds=120, memory=4 << 30)  # compiling takes seconds, and LLVM address space
DRIVER = "epcore.learn.drivers.kernels:run"


@dataclass(frozen=True)
class Task:
    """cases: label -> arguments; the last is measured. reference, ours: of such arguments, y. multiply_adds: of such ones."""

    cases: dict[str, tuple[Any, ...]]
    reference: Callable[..., np.ndarray]
    ours: Callable[..., object]
    multiply_adds: Callable[..., int]


def _array(*shape: int) -> np.ndarray:
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


def _swish() -> Task:
    cases = {
        "7 elements": (3 * _array(7),),
        "(2,3,4,5)": (30 * _array(2, 3, 4, 5),),
        "(1,56,56,144)": (_array(1, 56, 56, 144),),
    }
    # one exponential, counted as the ten multiply-adds of its polynomial
    return Task(cases, lambda x: swish_reference.forward(x)[0], swish.forward, lambda x: 10 * x.size)


def _depthwise() -> Task:
    cases = {
        f"{k}x{k} stride {s}, {H}x{W}x{C}": (_array(N, H, W, C), _array(k, k, C), s)
        for k, s, (N, H, W, C) in (
            (3, 1, (2, 5, 6, 3)), (3, 2, (2, 6, 8, 5)), (3, 2, (1, 7, 5, 4)), (5, 1, (1, 1, 1, 8)),
            (5, 2, (1, 8, 6, 3)), (5, 1, (1, 9, 7, 16)), (3, 1, (1, 56, 56, 144)),
        )
    }  # fmt: skip
    return Task(
        cases,
        lambda x, w, stride: depthwise_reference.forward(x, w, stride=stride)[0],
        lambda x, w, stride: depthwise_conv2d.forward(x, w, stride=stride),
        lambda x, w, stride: x.size // stride**2 * w.shape[0] ** 2,
    )


def _pointwise() -> Task:
    shapes = (((2, 3, 5, 7), 11), ((1, 1, 1, 3), 1), ((1, 4, 4, 24), 144), ((1, 56, 56, 24), 144))
    cases = {f"{x} to {out}": (_array(*x), _array(x[3], out)) for x, out in shapes}
    return Task(
        cases,
        lambda x, w: conv2d_reference.forward(x, w[None, None])[0],
        lambda x, w: conv2d.forward(x, w[None, None]),
        lambda x, w: x.size * w.shape[1],
    )


_TASKS = {"swish": _swish, "depthwise": _depthwise, "pointwise": _pointwise}


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of the student's kernel."""
    task = _TASKS[exercise.name]()
    last = list(task.cases.values())[-1]
    calls = [
        *(Call("values", arguments) for arguments in task.cases.values()),
        Call("time", last),
        Call("machine", (_moved(task, last),)),
    ]
    run = student.run(calls, limits=LIMITS, driver=DRIVER)
    if run.failure is not None:
        return Verdict((Finding.failed(exercise.file, run.failure),))
    *answers, seconds, machine = run.answers
    findings: dict[str, Finding] = {}
    for (label, arguments), answer in zip(task.cases.items(), answers, strict=True):
        if answer.failure is not None:
            findings.setdefault(answer.failure.text, Finding.failed(exercise.file, answer.failure, label))
            continue
        y, compiled = answer.value
        right = task.reference(*(each.astype(np.float64) if isinstance(each, np.ndarray) else each for each in arguments))
        if what := difference(y, right, SINGLE):
            findings.setdefault("values", Finding(exercise.file, None, f"{label}: {what}"))
        elif y.dtype != np.float32:
            findings.setdefault("dtype", Finding(exercise.file, None, f"{label}: y is {y.dtype}, expected float32"))
        if not compiled:
            findings.setdefault("compiled", Finding(exercise.file, None, "nothing in the file was compiled by numba.njit"))
    if not findings and (failure := seconds.failure or machine.failure):
        findings["time"] = Finding.failed(exercise.file, failure, "measuring it")
    if findings:
        return Verdict(tuple(findings.values()))
    return Verdict((), (f"right in {len(task.cases)} cases", *_measured(task, seconds.value, *machine.value)))


def _moved(task: Task, arguments: tuple[Any, ...]) -> int:
    """Bytes: all inputs once, y once."""
    return sum(each.nbytes for each in arguments if isinstance(each, np.ndarray)) + 4 * task.reference(*arguments).size


def _measured(task: Task, seconds: float, copying: float, multiply_add: float) -> tuple[str, str]:
    label, arguments = list(task.cases.items())[-1]
    products = task.multiply_adds(*arguments) * multiply_add
    megabytes = f"{_moved(task, arguments) / 1e6:.1f} MB to move"
    limit, by = max((copying, megabytes), (products, "its multiply-adds"))
    with threads_within(1):
        ours = best(lambda: task.ours(*arguments))
    return (
        f"{label}: {_us(seconds)}, {limit / seconds:.0%} of the machine's limit, which is {_us(limit)} for {by}",
        f"epcore's kernel: {_us(ours)}, {limit / ours:.0%}; yours takes {seconds / ours:.1f} times that; one thread each",
    )


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us"
