"""What may stand in the place of an ingredient: another one, a function of it, a constant, itself moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from epcore.exercise.scope import Change, Scope
from epcore.exercise.symmetries import Move, axis_names, moves
from epcore.ops.sigmoid import sigmoid

_CONSTANTS = tuple(10.0**-k for k in range(1, 13))


def _bracket(name: str) -> str:
    return f"({name})" if " " in name and not name.startswith(("[", "(", "the ")) else name


# Text of a function of an ingredient -> what it computes.
_FUNCTIONS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("1", np.ones_like),
    ("-{}", np.negative),
    ("{}^2", np.square),
    ("1 / {}", lambda a: 1 / a),
    ("1 - {}", lambda a: 1 - a),
    ("1 + {}", lambda a: 1 + a),
    ("2 * {}", lambda a: 2 * a),
    ("{} / 2", lambda a: a / 2),
    ("|{}|", np.abs),
    ("sqrt({})", np.sqrt),
    ("1 / sqrt({})", lambda a: 1 / np.sqrt(a)),
    ("{}^3", lambda a: a**3),
    ("max({}, 0)", lambda a: np.maximum(a, 0)),
    ("min({}, 0)", lambda a: np.minimum(a, 0)),
    ("[{} > 0]", lambda a: (a > 0) * 1.0),
    ("sigmoid({})", lambda a: sigmoid(np.asarray(a, float))),
    ("tanh({})", np.tanh),
    ("exp({})", np.exp),
    ("{} * (1 - {})", lambda a: a * (1 - a)),
)


_OF_TRUTHS = tuple(each for each in _FUNCTIONS if each[0] in ("1", "-{}", "1 - {}"))  # of values that are 0 or 1


def limits(name: str, number: float) -> Iterator[Change]:
    """An ingredient that is kept within a number."""
    if number > 0:
        within = f"with {name} kept within [-{number:g}, {number:g}]"
        yield Change(name, _applied(lambda a: np.clip(a, -number, number)), within)
    yield Change(name, _applied(lambda a: np.minimum(a, number)), f"with {name} kept below {number:g}")
    yield Change(name, _applied(lambda a: np.maximum(a, number)), f"with {name} kept above {number:g}")


def changes(scope: Scope, name: str) -> Iterator[Change]:
    """Of one ingredient, everywhere it stands, the plain ones first."""
    value = scope[name]
    if isinstance(value, bool) or not isinstance(value, (np.ndarray, float, int)):
        return
    functions = _FUNCTIONS if set(np.unique(value)) - {0.0, 1.0} else _OF_TRUTHS
    for number, (text, function) in enumerate(functions):
        new = text.format(_bracket(name), _bracket(name))
        yield Change(name, _applied(function), f"with {new} in the place of {name}")
        if number == 0 and isinstance(value, np.ndarray):
            yield from _others(scope, name, value)
    if isinstance(value, np.ndarray):
        for attribute, setting in scope.problem.attributes.items():
            if isinstance(setting, float):
                yield Change(name, _scaled(attribute), f"with {attribute} * {_bracket(name)} in the place of {name}")
        for move in moves(axis_names(scope.problem, name, value.ndim)):
            yield Change(name, _moved(move), f"with {name} {move.text}")
    elif name in scope.problem.attributes:
        for constant in (0.0, *_CONSTANTS):
            yield Change(name, _constant(constant), f"with {constant:g} in the place of {name}")


def other_attributes(scope: Scope, values: dict[str, list[Any]]) -> Iterator[Change]:
    """Attributes with values that they have in other cases. values: all that each has in some case."""
    for name, found in values.items():
        for value in found:
            yield Change(name, _constant(value), f"as if {name} were {value!r}")


def _others(scope: Scope, name: str, value: np.ndarray) -> Iterator[Change]:
    """Other arrays that may stand there: ingredients, what forward took, what it gave."""
    held = scope.arrays()
    held |= {
        each: array for each, array in zip(scope.problem.names, scope.problem.case.arrays, strict=True) if array is not None
    }
    held.setdefault("y", scope.problem.y)
    for other, array in held.items():
        if other != name and array.ndim and _fits(array.shape, value.shape):
            yield Change(name, _replaced(other), f"with {other} in the place of {name}")


def _fits(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(one, other) in (one, other)
    except ValueError:
        return False


def _replaced(other: str) -> Callable[[Scope, Any], Any]:
    def value(scope: Scope, old: Any) -> Any:
        problem = scope.problem
        if other in scope:
            return scope[other]
        return problem.case.arrays[problem.names.index(other)] if other in problem.names else problem.y

    return value


def _applied(function: Callable[[Any], Any]) -> Callable[[Scope, Any], Any]:
    return lambda _scope, old: function(old)


def _constant(value: Any) -> Callable[[Scope, Any], Any]:
    return lambda _scope, _old: value


def _scaled(attribute: str) -> Callable[[Scope, Any], Any]:
    return lambda scope, old: scope.problem.attributes[attribute] * old


def _moved(move: Move) -> Callable[[Scope, Any], Any]:
    return lambda _scope, old: move.of(old)
