"""Why a gradient is wrong: what is worth a try, from the plain to the far-fetched, until something gives the student's values.

Nothing here knows a mistake by name. An explanation is one of: the terms with other coefficients; the gradient, or an
ingredient, moved or another one in its place; the windows laid otherwise; right but for a place. It counts where it gives every
wrong value of every case, to within rounding; one that gives the right values of the other cases as well goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from epcore.exercise import regions, windows
from epcore.exercise.changes import changes, limits, other_attributes
from epcore.exercise.evidence import FEW, TIMES, Explanation, Sample, explains, wrong_values
from epcore.exercise.fit import explanation, times
from epcore.exercise.scope import Change, Term
from epcore.exercise.symmetries import Move, axis_names, moves, order_along


def explain(failing: Sequence[Sample], passing: Sequence[Sample]) -> Explanation | None:
    """The first that gives the values of all failing cases, and if there is one of all passing cases too."""
    only_here: Explanation | None = None
    for each in _tried(failing):
        if only_here is not None and each.text == only_here.text:
            continue
        if not explains(each.predict, failing):
            continue
        if explains(each.predict, passing):
            return each
        only_here = only_here or each
    return only_here


def _tried(samples: Sequence[Sample]) -> Iterator[Explanation]:
    if wrong_values(samples) < FEW:
        return
    for family in _FAMILIES:
        later = []
        for each in family(samples):
            if each.factor:
                later.append(each)
            else:
                yield each
        yield from later


def _terms(samples: Sequence[Sample]) -> Iterator[Explanation]:
    names = [term.name for term in _terms_of(samples[0])]
    scopes = {id(sample): sample.scope for sample in samples}

    def columns(sample: Sample) -> list[np.ndarray]:
        scope = scopes.get(id(sample)) or sample.scope
        return [term.value(scope) for term in _terms_of(sample)]

    yield from _found(explanation(samples, columns, lambda found: _of_terms(names, found)))


def _of_terms(names: Sequence[str], found: Sequence[str]) -> str | None:
    """A clause for terms with these coefficients."""
    there = [(name, coefficient) for name, coefficient in zip(names, found, strict=True) if coefficient]
    if len({coefficient for _, coefficient in there}) == 1 and (len(names) == 1 or there[0][1] != "0"):
        return times(there[0][1])
    clauses = []
    for name, coefficient in there:
        if coefficient == "0":
            clauses.append(f"the term {name} is missing")
        elif coefficient == "-1":
            clauses.append(f"the term {name} has the wrong sign")
        elif coefficient != "1":
            clauses.append(f"the term {name} is {coefficient} times what it should be")
    return " and ".join(clauses) or None


def _terms_of(sample: Sample) -> tuple[Term, ...]:
    return sample.scope.recipe.terms[sample.name]


def _moved(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """The right gradient, moved."""
    first = samples[0]
    for move in moves(axis_names(first.problem, first.name, first.got.ndim)):
        yield from _alone(samples, f"the right one, {move.text}", partial(_right_moved, move=move))


def _right_moved(sample: Sample, move: Move) -> np.ndarray | None:
    return move.of(sample.right)


def _others(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """Something else altogether: another input's gradient, dy, an ingredient."""
    first = samples[0]
    for index in first.problem.checked:
        if index != first.index:
            yield from _alone(samples, f"the gradient of {first.problem.names[index]}", partial(_gradient, index=index))
    for name in first.scope.arrays():
        yield from _alone(samples, f"{name} as it is", partial(_ingredient, name=name))


def _gradient(sample: Sample, index: int) -> np.ndarray:
    return np.asarray(sample.problem.right[index])


def _ingredient(sample: Sample, name: str) -> np.ndarray:
    return np.asarray(sample.scope[name])


def _alone(samples: Sequence[Sample], text: str, of: Callable[[Sample], np.ndarray | None]) -> Iterator[Explanation]:
    """One array, perhaps with a factor."""

    def columns(sample: Sample) -> list[np.ndarray]:
        found = of(sample)
        if found is None or found.shape != sample.got.shape:
            raise ValueError("there is nothing of that shape")
        return [found]

    yield from _found(explanation(samples, columns, lambda found: _with_factor(text, found[0])))


def _with_factor(text: str, coefficient: str) -> str | None:
    if coefficient in ("0", ""):
        return None
    return text if coefficient == "1" else f"{text}{TIMES}{coefficient}"


def _changed(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """One ingredient is something else, everywhere."""
    for change in _changes(samples):
        for each in _with_change(samples, change):
            if not (each.factor and change.text.startswith("as if")):
                yield each


def _changed_in_a_term(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """One ingredient is something else within another one, or in the terms themselves; or in one term of several."""
    derived = list(samples[0].scope.recipe.derived)
    for change in _changes(samples):
        for within in (None, *derived):
            if within != change.name:
                yield from _with_change(samples, replace(change, within=within))
    terms = _terms_of(samples[0])
    if len(terms) > 1:
        for change in _changes(samples):
            for number in range(len(terms)):
                yield from _with_change(samples, change, number)


def _limited(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """An ingredient that is kept within the number from which on values are wrong."""
    derived = list(samples[0].scope.recipe.derived)
    for threshold in regions.thresholds(samples):
        if threshold.name in samples[0].scope:
            number = -threshold.number if threshold.sign < 0 else threshold.number
            for change in limits(threshold.name, number):
                for within in ("", *derived):
                    yield from _with_change(samples, replace(change, within=within))


def _changes(samples: Sequence[Sample]) -> Iterator[Change]:
    first = samples[0]
    scope = first.scope
    values: dict[str, list[Any]] = {}
    for sample in samples:
        for name, value in sample.problem.attributes.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    for name, value in _seen_elsewhere(first).items():
        values.setdefault(name, []).extend(each for each in value if each not in values[name])
    yield from other_attributes(scope, values)
    for name in scope:
        yield from changes(scope, name)


def _seen_elsewhere(sample: Sample) -> dict[str, list[Any]]:
    """Values of attributes that the operator has in other cases or by default."""
    from epcore.exercise.problem import problems

    found: dict[str, list[Any]] = {}
    for problem in problems(sample.problem.case.op):
        for name, value in problem.attributes.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return found


def _with_change(samples: Sequence[Sample], change: Change, only: int | None = None) -> Iterator[Explanation]:
    """only: the term in which it is changed; all."""
    place = f", in {change.within}" if change.within else ""

    def columns(sample: Sample) -> list[np.ndarray]:
        plain = sample.scope
        changed = plain.changed(change)
        terms = plain.recipe.terms[sample.name]
        if only is None:
            return [sum((term.value(changed) for term in terms), np.zeros(sample.got.shape))]
        return [term.value(changed if number == only else plain) for number, term in enumerate(terms)]

    def text(found: list[str]) -> str | None:
        if only is None:
            return _with_factor(f"the right one, but {change.text}{place}", found[0])
        names = [term.name for term in _terms_of(samples[0])]
        if found[only] in ("0", ""):
            return None
        here = _with_factor(f"the term {names[only]} is that {change.text}", found[only])
        rest = _of_terms(names, [("1" if number == only else each) for number, each in enumerate(found)])
        return f"{here} and {rest}" if rest else here

    yield from _found(explanation(samples, columns, text))


def _windows(samples: Sequence[Sample]) -> Iterator[Explanation]:
    return windows.explanations(samples[0])


def _reordered(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """The slices along an axis in another order."""
    first = samples[0]
    if len({sample.got.ndim for sample in samples}) > 1:
        return
    for axis, name in enumerate(axis_names(first.problem, first.name, first.got.ndim)):

        def predict(sample: Sample, axis: int = axis) -> np.ndarray | None:
            order = order_along(sample.got, sample.right, axis, sample.problem.rounding)
            return None if order is None else np.take(sample.right, order, axis)

        orders = [order_along(sample.got, sample.right, axis, sample.problem.rounding) for sample in samples]
        shown = "; ".join(sorted({str(order) for order in orders}))
        yield Explanation(f"its {name} come in another order: {shown}", predict)


def _found(each: Explanation | None) -> Iterator[Explanation]:
    if each is not None:
        yield each


_FAMILIES = (
    _terms,
    regions.ends,
    _moved,
    _others,
    _changed,
    _changed_in_a_term,
    _limited,
    _windows,
    regions.explanations,
    _reordered,
)
