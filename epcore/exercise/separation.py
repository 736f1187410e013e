"""What the cases in which a gradient is wrong have in common, and the others have not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from epcore.exercise.problem import Problem
from epcore.exercise.quantities import quantities


def features(problem: Problem) -> dict[str, bool]:
    """Clauses about a case, "with stride 2", and whether they are true of it; the plain ones first."""
    found: dict[str, bool] = {}
    numbers = quantities(problem)
    for name, value in problem.attributes.items():
        if name != "epsilon":
            found[f"with {name} {value}"] = True
    for name, array in zip(problem.names, problem.case.arrays, strict=True):
        found[f"without {name}"] = array is None
        found[f"with {name}"] = array is not None
    if "k" in numbers:
        found[f"with a {numbers['k']:g}x{numbers['k']:g} kernel"] = True
        found["with a kernel larger than 1x1"] = numbers["k"] > 1
        found["with an even kernel"] = numbers["k"] % 2 == 0
        if "stride" in numbers:
            found["with a kernel larger than the stride"] = numbers["k"] > numbers["stride"]
    if "N" in numbers:
        found["with a batch of 1"] = numbers["N"] == 1
        found["with a batch of more than 1"] = numbers["N"] > 1
        for name, what in (("H", "rows"), ("W", "columns")):
            found[f"with an odd number of {what}"] = numbers[name] % 2 == 1
            found[f"with an even number of {what}"] = numbers[name] % 2 == 0
        odd = [numbers["H"] % 2 == 1, numbers["W"] % 2 == 1]
        found["with rows and columns even in number"] = not any(odd)
        found["with rows or columns odd in number"] = any(odd)
        found["with rows or columns even in number"] = not all(odd)
        found["with more rows than columns"] = numbers["H"] > numbers["W"]
        found["with fewer rows than columns"] = numbers["H"] < numbers["W"]
    shapes = [np.shape(array) for array in problem.case.arrays if array is not None]
    found["with inputs of one shape"] = len(set(shapes)) == 1
    found["with inputs of different shapes"] = len(set(shapes)) > 1
    return found


def separating(failing: Sequence[Problem], passing: Sequence[Problem]) -> str | None:
    """A clause that is true of all failing cases and of no passing one; None where there is none, or no case passes."""
    if not failing or not passing:
        return None
    all_failing, all_passing = [features(each) for each in failing], [features(each) for each in passing]
    common = [clause for clause in all_failing[0] if all(each.get(clause, False) for each in all_failing)]
    for clause in common:
        if not any(each.get(clause, False) for each in all_passing):
            return clause
    for first, second in combinations(common, 2):
        if not any(each.get(first, False) and each.get(second, False) for each in all_passing):
            return f"{first} and {second.removeprefix('with ')}"
    return None
