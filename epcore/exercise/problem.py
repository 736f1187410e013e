"""One case of an exercise, worked out: what the student's backward is given, what is right, what that is made of."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from epcore.exercise.cases import exercise_cases
from epcore.gradcheck.cases import Case
from epcore.op import Op
from epcore.ops import OPS

OPERATIONS = 64  # roundings that one product in a backward may go through; squeeze-and-excitation needs the most, about 30


@dataclass(frozen=True, eq=False)
class Problem:
    """case: with what forward takes. saved, dy: what backward is given. right: its gradients, None where there is none.

    names: of the inputs of forward. checked: positions of those that have a gradient.
    """

    case: Case
    y: np.ndarray
    saved: tuple[Any, ...]
    dy: np.ndarray
    right: tuple[Any, ...]
    names: tuple[str, ...]

    @property
    def op(self) -> Op:
        return OPS[self.case.op]

    @property
    def checked(self) -> tuple[int, ...]:
        return self.case.checked

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """What forward took, and y, by name."""
        taken = {name: array for name, array in zip(self.names, self.case.arrays, strict=True) if array is not None}
        return {**taken, "y": self.y}

    @cached_property
    def saved_names(self) -> tuple[str, ...]:
        """Of each value that forward saves, as its last line writes it."""
        return saved_names(self.op)

    @cached_property
    def ingredients(self) -> dict[str, np.ndarray]:
        """dy and the arrays of numbers that forward saved, by name."""
        named = {name: value for name, value in zip(self.saved_names, self.saved, strict=False) if _is_float(value)}
        return {"dy": self.dy, **named}

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """What backward is called with: the case's, and the defaults of the others."""
        parameters = inspect.signature(self.op.backward).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
        return {name: value for name, value in {**defaults, **self.case.attributes}.items() if name not in ("needs", "reduce")}

    @cached_property
    def rounding(self) -> float:
        """What two right ways to compute a gradient may differ by.

        An entry is a sum of at most n products, each of at most `OPERATIONS` roundings, of one dy, and no larger than the
        product of the largest values of all that is there: n * (n + OPERATIONS) * u * largest (Higham 2002, Equation 3.5, to
        first order), with n the elements of the largest array.
        """
        held = list({id(array): array for array in (*self.saved, *self.case.arrays) if _is_float(array)}.values())
        n = max(array.size for array in (self.dy, *held))
        largest = float(np.prod([max(1.0, float(np.abs(array).max(initial=0))) for array in held]))
        return float(n * (n + OPERATIONS) * 2.0**-53 * largest * np.abs(self.dy).max())

    def backward(self, ingredients: Mapping[str, np.ndarray], **attributes: Any) -> tuple[Any, ...]:
        """The right backward of other ingredients (by name; the others as they are) and other attributes."""
        pairs = zip(self.saved_names, self.saved, strict=False)
        saved = (
            tuple(ingredients.get(name, value) for name, value in pairs)
            if len(self.saved_names) == len(self.saved)
            else self.saved
        )
        return self.op.backward(ingredients.get("dy", self.dy), saved, **{**self.case.attributes, **attributes})


def problems(op: str) -> list[Problem]:
    """All cases of an operator, worked out."""
    return [_problem(case) for case in exercise_cases(op)]


def _problem(case: Case) -> Problem:
    op = OPS[case.op]
    y, saved = op.forward(*case.arrays, **case.attributes)
    dy = np.asarray(np.random.default_rng(7).standard_normal(np.shape(y)))
    right = op.backward(dy, saved, **case.attributes)
    return Problem(case, y, saved, dy, right, tuple(op.array_names(len(case.arrays))))


def saved_names(op: Op) -> tuple[str, ...]:
    """What forward saves, as its last line writes it; none where that is no tuple of expressions."""
    tree = ast.parse(inspect.getsource(op.forward))
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    last = returns[-1] if returns else None
    if not isinstance(last, ast.Tuple) or len(last.elts) != 2 or not isinstance(last.elts[1], ast.Tuple):
        return ()
    return tuple(ast.unparse(each) for each in last.elts[1].elts)


def _is_float(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"
