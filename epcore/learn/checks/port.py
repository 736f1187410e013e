"""A port that the student mends: what it gives, layer by layer, through `epcore diff`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from epcore.exercise.sandbox import Call
from epcore.learn import reference
from epcore.learn.checks.network import LIMITS, SIZE
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict
from epcore.port.diff import Divergence, find_divergences
from epcore.port.match import match_port
from epcore.port.setting import Setting
from epcore.port.vectors import network_vectors


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of the student's `layers`, run on the vectors of RT."""
    model, x = reference.network(), reference.picture(SIZE)
    manifest = _manifest()
    entries = [{key: each[key] for key in ("name", "op", "inputs", "parameters", "attributes")} for each in manifest["layers"]]
    run = student.run([Call("layers", (entries, dict(model.parameters), x))], limits=LIMITS)
    answer = run.answers[0]
    if answer.failure is not None:
        return Verdict((Finding.failed(exercise.file, answer.failure),))
    if said := _not_all(answer.value, list(model.graph.nodes)):
        return Verdict((Finding(exercise.file, None, said),))
    shapes = model.graph.shapes(1, x.shape[1:])
    maps = {name: answer.value[name] for name in model.graph.nodes}
    matched = match_port(maps, model.graph, shapes, layout="NHWC")
    double = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    rounding = {each["name"]: each["rounding"] for each in manifest["layers"]}
    report = find_divergences(
        Setting(model.graph, double, x.astype(np.float64)), matched.layers, matched.wrong_shapes, rounding
    )
    findings = tuple(Finding(exercise.file, None, _said(each)) for each in report.divergences)
    return Verdict(findings, () if findings else (f"all {len(report.compared)} layers agree with the vectors",))


@cache
def _manifest() -> dict[str, Any]:
    """Of the vectors of RT: its layers, and how far float32 comes from them."""
    return network_vectors(reference.network(), reference.picture(SIZE), gradients=False, full=True).manifest


def _not_all(got: Any, names: list[str]) -> str:
    """Empty where every layer is there."""
    if not isinstance(got, dict):
        return f"layers returned one {type(got).__name__}, expected a mapping from layers to maps"
    missing = [name for name in names if not isinstance(got.get(name), np.ndarray)]
    return f"layers did not return a map of {missing[0]} (nor of {len(missing) - 1} more)" if missing else ""


def _said(found: Divergence) -> str:
    if found.shape is not None:
        return f"{found.layer} has shape {found.shape[0]}, expected {found.shape[1]}"
    if not found.causes:
        return f"{found.layer} diverges, and no known mistake explains it"
    cause = found.causes[0]
    return f"{found.layer} diverges: {cause.title}. {cause.hint}"
