"""Decoding and PCKh against epcore's own, on maps and people that show the corners."""

from __future__ import annotations

from typing import Any

import numpy as np

from epcore.evaluate.pckh import normalized_distances
from epcore.exercise.sandbox import Call
from epcore.learn import reference
from epcore.learn.compare import difference
from epcore.learn.course import Exercise
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict
from epcore.pose import decode
from epcore.pose.skeleton import KEYPOINTS

TAUS = (0.5, 0.2)


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of `decode`, or of `pckh`."""
    return _CHECKS[exercise.name](exercise, student)


def _maps() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    wide = rng.uniform(0, 0.9, (5, 8, 4))
    ties = np.zeros((4, 6, 3))
    ties[1, 2, 0] = ties[1, 4, 0] = ties[3, 0, 0] = ties[2, 5, 1] = ties[3, 1, 1] = 0.7
    ties[0, 0, 2] = ties[3, 5, 2] = 0.5
    faint = 0.1 * rng.random((6, 6, 3))
    faint[2, 3, 1], faint[4, 4, 2] = 0.3, 0.29
    figure = reference.network()(reference.picture(96)).final[0].astype(np.float64)
    return {"5x8": wide, "equal peaks, 4x6": ties, "faint peaks": faint, "the maps of a figure": figure}


def _decode(exercise: Exercise, student: Student) -> Verdict:
    worked = _maps()
    run = student.run([Call("decode", (maps,)) for maps in worked.values()])
    findings = []
    for (label, maps), answer in zip(worked.items(), run.answers, strict=True):
        if answer.failure is not None:
            findings.append(Finding.failed(exercise.file, answer.failure, label))
            continue
        findings += [Finding(exercise.file, None, f"{label}: {what}") for what in _decoded(answer.value, maps)]
    return Verdict(_once(findings), () if findings else (f"points and scores are right on {len(worked)} sets of maps",))


def _decoded(got: Any, maps: np.ndarray) -> list[str]:
    points, scores = decode(maps, real_time=True)
    if not isinstance(got, tuple) or len(got) != 2:
        return ["decode did not return two things, points and scores"]
    found = [f"scores: {what}"] if (what := difference(got[1], scores)) else []
    mine = got[0]
    if not isinstance(mine, np.ndarray) or mine.shape != points.shape:
        return [*found, f"points: {difference(mine, points)}"]
    if (np.isnan(mine) != np.isnan(points)).any():
        keypoint = int((np.isnan(mine) != np.isnan(points)).any(1).argmax())
        expected = "NaN, NaN" if np.isnan(points[keypoint]).any() else "a place"
        found.append(f"points: keypoint {keypoint}, score {scores[keypoint]:.3g}, is {mine[keypoint]}, expected {expected}")
    elif what := difference(np.nan_to_num(mine), np.nan_to_num(points)):
        swapped = not difference(np.nan_to_num(mine[:, ::-1]), np.nan_to_num(points))
        found.append("points: x and y are exchanged" if swapped else f"points: {what}")
    return found


def _people() -> tuple[np.ndarray, ...]:
    """predictions, keypoints, annotated, head_boxes of seven people; some predictions missing, some at the limit."""
    rng = np.random.default_rng(1)
    N, J = 7, len(KEYPOINTS)
    keypoints = rng.uniform(0, 200, (N, J, 2))
    boxes = np.concatenate([np.full((N, 2), 10.0), 10 + rng.uniform(20, 80, (N, 2))], axis=1)
    predictions = keypoints + rng.normal(0, 14, (N, J, 2))
    predictions[rng.random((N, J)) < 0.1] = np.nan
    boxes[0] = (10, 10, 10 + 30, 10 + 40)  # l = 30
    predictions[0, :3] = keypoints[0, :3] = np.round(keypoints[0, :3])
    predictions[0, 0, 0] += 15  # at the limit
    predictions[0, 1, 0] += 15.5
    return predictions, keypoints, rng.random((N, J)) < 0.8, boxes


def _pckh(exercise: Exercise, student: Student) -> Verdict:
    people = _people()
    run = student.run([Call("pckh", people, {"tau": tau}) for tau in TAUS])
    findings = []
    for tau, answer in zip(TAUS, run.answers, strict=True):
        if answer.failure is not None:
            findings.append(Finding.failed(exercise.file, answer.failure, f"tau {tau}"))
            continue
        distances = normalized_distances(*people)
        known = ~np.isnan(distances)
        right = 100 * float((distances[known] <= tau * (1 + 1e-12)).mean())
        if what := difference(answer.value, np.asarray(right)):
            findings.append(Finding(exercise.file, None, f"tau {tau}: {what}"))
    return Verdict(_once(findings), () if findings else (f"right at {len(TAUS)} thresholds",))


def _once(findings: list[Finding]) -> tuple[Finding, ...]:
    """What is said of the file as a whole is said once."""
    return tuple({(each.line, each.message.partition(": ")[2]): each for each in reversed(findings)}.values())


_CHECKS = {"decode": _decode, "pckh": _pckh}
