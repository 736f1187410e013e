"""What can be said of a student's answer before its values are looked at: kinds, shapes, dtypes, what was changed in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations, permutations
from typing import Any

import numpy as np

from epcore.exercise.problem import Problem
from epcore.exercise.sandbox import Answer
from epcore.exercise.symmetries import axis_names
from epcore.exercise.values import Unknown


def of_call(problem: Problem, answer: Answer) -> str | None:
    """What is wrong with the call as a whole; None where there is a tuple with a value for every input."""
    if answer.failure is not None:
        return answer.failure.text
    expected = f"a tuple of {len(problem.names)}: {', '.join(problem.names)}"
    if not isinstance(answer.value, tuple):
        return f"it returned {_kind(answer.value)}, expected {expected}"
    if len(answer.value) != len(problem.names):
        return f"it returned {len(answer.value)} values, expected {expected}"
    return None


def changed(problem: Problem, answer: Answer) -> list[str]:
    """Names of what the call changed in place: of dy and of what forward saved."""
    if len(answer.arguments) != 2 or not isinstance(answer.arguments[1], tuple):
        return []
    dy, saved = answer.arguments
    names = problem.saved_names or tuple(f"saved[{i}]" for i in range(len(problem.saved)))
    pairs = [("dy", problem.dy, dy), *zip(names, problem.saved, saved, strict=False)]
    return [name for name, before, after in pairs if isinstance(before, np.ndarray) and not np.array_equal(before, after)]


def order(problem: Problem, answer: Answer) -> str | None:
    """Where the gradients are right and come in another order, that order."""
    found = []
    for value in (answer.value[index] for index in problem.checked):
        fits = [
            index
            for index in problem.checked
            if isinstance(value, np.ndarray) and _near(value, np.asarray(problem.right[index]), 2 * problem.rounding)
        ]
        if len(fits) != 1:
            return None
        found += fits
    if found == list(problem.checked) or len(set(found)) < len(found):
        return None
    if found == list(reversed(problem.checked)):
        return "its gradients are right, and come in reverse order"
    return f"its gradients are right, and come in the order {', '.join(problem.names[index] for index in found)}"


def of_gradient(problem: Problem, index: int, value: Any) -> str | None:
    """What is wrong with one gradient but its values; None where it is an array of finite floats of the right shape."""
    right = np.asarray(problem.right[index])
    if isinstance(value, (bool, int, float)) or not isinstance(value, (np.ndarray, np.generic)):
        return f"it is {_kind(value)}, expected an array of shape {right.shape}"
    got = np.asarray(value)
    if got.shape != right.shape:
        return f"it has shape {got.shape}, expected {right.shape}"
    if got.dtype.kind != "f":
        return f"it is of dtype {got.dtype}, expected {problem.dy.dtype}, that of dy"
    if count := int((~np.isfinite(got)).sum()):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(got))[0])
        return f"{count} of its {got.size} values are NaN or infinite, the first at {place}"
    return None


def _kind(value: Any) -> str:
    if isinstance(value, Unknown):
        return f"of type {value.kind}"
    if value is None:
        return "None"
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"


def ways_to_right(problem: Problem, index: int, value: Any) -> Iterator[str]:
    """All that would make a gradient of a wrong shape right. In one case more than one thing may, where sizes are 1."""
    if not isinstance(value, np.ndarray) or value.shape == np.shape(problem.right[index]) or value.dtype.kind != "f":
        return
    right, near = np.asarray(problem.right[index]), 2 * problem.rounding
    for number in problem.checked:
        if number != index and _near(value, np.asarray(problem.right[number]), near):
            yield f"this is the gradient of {problem.names[number]}"
    names = axis_names(problem, "", value.ndim)
    for count in range(1, value.ndim + 1):
        for axes in combinations(range(value.ndim), count):
            summed = value.sum(axis=axes)
            if summed.size == right.size and _near(summed.reshape(right.shape), right, near * value.size):
                yield f"it is right once it is summed over {', '.join(names[axis] for axis in axes)}"
    if value.size == right.size and any(
        _near(value.transpose(order).reshape(right.shape), right, near) for order in permutations(range(value.ndim))
    ):
        yield "its values are right, in another shape"
    if value.size < right.size:
        with suppress(ValueError):
            if _near(np.broadcast_to(value, right.shape), right, near):
                yield "it is right once it is broadcast"


def _near(a: np.ndarray, b: np.ndarray, bound: float) -> bool:
    return bool(a.shape == b.shape and np.isfinite(a).all() and np.abs(a - b).max(initial=0) <= bound)
