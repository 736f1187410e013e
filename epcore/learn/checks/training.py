"""A training step against epcore's own, in double; and the count of what forward keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from epcore.audit.memory import parameter_bytes, training_peak
from epcore.exercise.sandbox import Call
from epcore.learn import reference
from epcore.learn.checks.network import LIMITS, SIZE
from epcore.learn.compare import difference
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict
from epcore.models import EfficientPose
from epcore.pose.encode import render_targets
from epcore.tape import Tape

STEPS, RATE, SIGMA = 4, 1e-4, 4.0
# A step is two passes of some 200 operators: their roundings, and those of normalised batches, stay six digits below this.
BOUND = 1e-7
DRIVER = "epcore.learn.drivers.training:run"
PLANTED = {
    "two arrays": 188,
    "one array, saved twice": 188,
    "a view of an array": 160,
    "an array and a view of its view": 160,
    "an array beside None, a shape, a number": 160,
    "nothing": 0,
}  # bytes of (4,5) float64 and of (7,) float32


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of `step`, or of `kept`."""
    return _CHECKS[exercise.name](exercise, student)


def _step(exercise: Exercise, student: Student) -> Verdict:
    model = reference.network().astype(np.float64)
    model.drop_connect = False
    x = reference.picture(SIZE).astype(np.float64)
    record = reference.figure(SIZE)
    target = render_targets([[(record.keypoints, record.annotated)]], SIZE, SIGMA).confs.astype(np.float64)
    call = Call("steps", (dict(model.parameters), model.trainable(), x, target, RATE, STEPS))
    run = student.run([call], limits=LIMITS, driver=DRIVER)
    answer = run.answers[0]
    if answer.failure is not None:
        return Verdict((Finding.failed(exercise.file, answer.failure),))
    losses, moved, untouched = answer.value
    findings = [Finding(exercise.file, None, text) for text in _wrong(model, x, target, losses, moved)]
    if not untouched:
        findings.append(Finding(exercise.file, None, "step changed the parameters it was given: give a new mapping"))
    if not findings and not losses[-1] < losses[0]:
        findings.append(Finding(exercise.file, None, f"the loss does not fall: {_shown(losses)}"))
    return Verdict(
        tuple(findings), () if findings else (f"loss and parameters are epcore's; the loss falls: {_shown(losses)}",)
    )


def _wrong(model: EfficientPose, x: np.ndarray, target: np.ndarray, losses: Any, moved: Any) -> Iterator[str]:
    before = dict(model.parameters)
    tape = Tape()
    outputs, tensors = model.train().record(x, tape)
    loss = tape.apply("mse", outputs["confs3"], target, reduction="sum")
    tape.backward(loss)
    if what := difference(losses[0], np.asarray(loss.data), BOUND):
        yield f"the loss of the first step: {what}"
    if not isinstance(moved, dict) or moved.keys() != before.keys():
        yield "step returned no mapping with all parameters"
        return
    wrong = {}
    for name, array in before.items():
        gradient = tape.gradient(tensors[name]) if name in tensors else None
        expected = np.zeros_like(array) if gradient is None else RATE * gradient
        if not isinstance(moved[name], np.ndarray) or moved[name].shape != array.shape:
            wrong[name] = f"it is no array of shape {array.shape}"
        elif what := difference(array - moved[name], expected, _bound(array, expected)):
            wrong[name] = what
    if wrong:
        name, what = next(iter(wrong.items()))
        yield f"{len(wrong)} of {len(before)} parameters are wrong after a step, first {name}: by what it was moved: {what}"


def _bound(array: np.ndarray, change: np.ndarray) -> float:
    """BOUND, and what rounding the parameter leaves of a small change."""
    rounding = 4 * float(np.finfo(array.dtype).eps) * float(np.abs(array).max(initial=0))
    return BOUND + rounding / max(float(np.abs(change).max(initial=0)), 1e-30)


def _memory(exercise: Exercise, student: Student) -> Verdict:
    model = reference.network()
    calls = [*(Call("planted", (scenario,)) for scenario in PLANTED)]
    calls.append(Call("network", (reference.picture(SIZE), dict(model.parameters))))
    run = student.run(calls, limits=LIMITS, driver=DRIVER)
    if run.failure is not None:
        return Verdict((Finding.failed(exercise.file, run.failure),))
    findings = []
    for (scenario, right), answer in zip(PLANTED.items(), run.answers, strict=False):
        if answer.failure is not None:
            findings.append(Finding.failed(exercise.file, answer.failure, scenario))
        elif not _whole(answer.value) or answer.value != right:
            findings.append(Finding(exercise.file, None, f"{scenario}: {answer.value!r}, expected {right} bytes"))
    last = run.answers[-1]
    if last.failure is not None:
        findings.append(Finding.failed(exercise.file, last.failure, "your network"))
    elif not _whole(last.value):
        findings.append(Finding(exercise.file, None, f"your network: {last.value!r}, expected a number of bytes"))
    if findings:
        return Verdict(tuple(findings))
    peak = training_peak(model.graph, input_shape=(SIZE, SIZE, 3))
    return Verdict((), (
        f"your RT keeps {_mb(int(last.value))} for backward of one picture of {SIZE}x{SIZE}; its parameters are "
        f"{_mb(parameter_bytes(model.graph))}",
        f"epcore's training step on it holds at most {_mb(peak)} besides the parameters",
    ))  # fmt: skip


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _shown(losses: list[Any]) -> str:
    return ", ".join(f"{loss:.4g}" for loss in losses)


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


_CHECKS = {"step": _step, "memory": _memory}
