"""A block and the whole of RT, from the student's operators: its maps against epcore's, in double."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.exercise.sandbox import Call, Limits
from epcore.learn import reference
from epcore.learn.compare import DOUBLE, difference
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict
from epcore.pose import decode

SIZE = 64  # of the figure that every map is compared on
FIGURE = 224  # of the one whose keypoints are found: what RT was trained at
LIMITS = Limits(seconds=60, memory=3 << 30)
DRIVER = "epcore.learn.drivers.network:run"


@dataclass(frozen=True)
class Block:
    """name: of its nodes. input, output: nodes. The attributes are mbconv's."""

    name: str
    input: str
    output: str
    stride: int = 1
    activation: str = "swish"
    residual: bool = False


BLOCKS = (
    Block("high.block1a", "high.stem_activation", "high.block1a.project_bn"),
    Block("high.block2a", "high.block1a.project_bn", "high.block2a.project_bn", stride=2),
    Block("high.block2b", "high.block2a.project_bn", "high.block2b.add", residual=True),
    Block("high.block3a", "high.block2b.add", "high.block3a.project_bn", stride=2),
    Block("pass1.block1.mbconv1", "high.block3b.add", "pass1.block1.mbconv1.project_bn", activation="eswish"),
)


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of `mbconv`, or of `rt`."""
    return _CHECKS[exercise.name](exercise, student)


def _mbconv(exercise: Exercise, student: Student) -> Verdict:
    model, maps = reference.network().astype(np.float64), reference.maps(SIZE)
    calls = []
    for block in BLOCKS:
        p = {name: array for name, array in model.parameters.items() if name.startswith(f"{block.name}.")}
        keywords = {"stride": block.stride, "activation": block.activation, "residual": block.residual, "training": False}
        calls.append(Call("mbconv", (maps[block.input], p, block.name), keywords))
    run = student.run(calls, limits=LIMITS, driver=DRIVER)
    if run.failure is not None:
        return Verdict((Finding.failed(exercise.file, run.failure),))
    findings = []
    for block, answer in zip(BLOCKS, run.answers, strict=True):
        if answer.failure is not None:
            findings.append(Finding.failed(exercise.file, answer.failure, block.name))
            continue
        output, trace = answer.value
        if what := difference(output, maps[block.output]):
            steps = {name: array for name, array in maps.items() if name.startswith(f"{block.name}.")}
            findings.append(Finding(exercise.file, None, f"{block.name}: {what}{_where(trace, steps)}"))
    return Verdict(tuple(findings), () if findings else (f"{len(BLOCKS)} blocks of RT give epcore's maps",))


def _rt(exercise: Exercise, student: Student) -> Verdict:
    model, maps = reference.network(), reference.maps(SIZE)
    double = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    calls = [
        Call("rt", (reference.picture(SIZE).astype(np.float64), double)),
        Call("rt", (reference.picture(FIGURE), dict(model.parameters)), {"trace": False}),
    ]
    run = student.run(calls, limits=LIMITS, driver=DRIVER)
    if run.failure is not None:
        return Verdict((Finding.failed(exercise.file, run.failure),))
    first, second = run.answers
    if first.failure is not None:
        return Verdict((Finding.failed(exercise.file, first.failure),))
    outputs, trace = first.value
    if findings := _outputs(exercise, outputs, trace, maps, model.graph.outputs):
        return Verdict(tuple(findings))
    if second.failure is not None:
        return Verdict((Finding.failed(exercise.file, second.failure, f"a figure of {FIGURE}x{FIGURE}, float32"),))
    return Verdict((), ("all four outputs are epcore's", _found(second.value[0]["upscaled"])))


def _outputs(
    exercise: Exercise, outputs: Any, trace: Sequence[Any], maps: Mapping[str, np.ndarray], wanted: Mapping[str, str]
) -> list[Finding]:
    if not isinstance(outputs, dict) or set(outputs) != set(wanted):
        got = ", ".join(outputs) if isinstance(outputs, dict) else type(outputs).__name__
        return [Finding(exercise.file, None, f"rt returned {got}, expected a mapping with {', '.join(wanted)}")]
    findings = []
    for label, node in wanted.items():
        if what := difference(outputs[label], maps[node]):
            findings.append(Finding(exercise.file, None, f"{label}: {what}{_where(trace, maps)}"))
    return findings


def _where(trace: Sequence[Any], maps: Mapping[str, np.ndarray]) -> str:
    """The first map of epcore's that the student's operators did not compute."""
    computed = [array for _, array in trace if isinstance(array, np.ndarray)]
    before = ""
    for name, right in maps.items():
        if name.endswith(".drop_connect"):  # not there at inference
            continue
        scale = max(float(np.abs(right).max()), 1e-30)
        if not any(array.shape == right.shape and np.abs(array - right).max() <= DOUBLE * scale for array in computed):
            return f". The first map that your code did not compute is {name}" + (f", after {before}" if before else "")
        before = name
    return ""


def _found(maps: np.ndarray) -> str:
    """On the figure: how many keypoints the maps find."""
    record = reference.figure(FIGURE)
    points, _ = decode(maps[0])
    distances = np.linalg.norm(points * FIGURE - record.keypoints, axis=1)[record.annotated]
    near = int((distances <= FIGURE / 16).sum())
    where = f"within {FIGURE // 16} of {FIGURE} pixels"
    return f"on a synthetic figure your network finds {near} of {len(distances)} keypoints {where}"


_CHECKS = {"mbconv": _mbconv, "rt": _rt}
