"""What a gradient is made of: terms, each a named function of named ingredients, any of which can be put in another's place.

A `Scope` holds the ingredients of one case: dy and what forward saved, the attributes, and what is derived from them when it is
asked for. A `Change` of one ingredient gives another scope: what the gradient would be with that mistake in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from epcore.exercise.problem import Problem

Value = Callable[["Scope"], Any]


@dataclass(frozen=True)
class Term:
    """name: which path it is, for messages. value(scope) -> an array of the gradient's shape, or 0 where there is no such."""

    name: str
    value: Value


@dataclass(frozen=True)
class Recipe:
    """derived: ingredients computed from others, by name. terms: input's name -> what its gradient is the sum of."""

    derived: Mapping[str, Value] = field(default_factory=dict)
    terms: Mapping[str, tuple[Term, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """name: of the ingredient. value(scope, what it is) -> what is in its place. text: a clause that says so.

    within: the derived ingredient in which alone it is changed; "" everywhere, None only where a term itself uses it.
    """

    name: str
    value: Callable[[Scope, Any], Any]
    text: str
    within: str | None = ""


class Scope(Mapping[str, Any]):
    """Ingredients by name. With a change: as it would be with that."""

    def __init__(self, problem: Problem, recipe: Recipe, change: Change | None = None, plain: Scope | None = None) -> None:
        """plain: the scope without the change, which goes with every change."""
        self.problem = problem
        self.recipe = recipe
        self._change = change
        self._held: dict[str, Any] = {}
        self.plain: Scope = plain or self
        self._base = {**problem.attributes, **problem.ingredients}

    def __getitem__(self, name: str) -> Any:
        if name not in self._held:
            self._held[name] = self._found(name)
        return self._held[name]

    def _found(self, name: str) -> Any:
        change = self._change
        if change is None:
            return self._usual(name, self)
        if name == change.name and change.within in ("", None):
            return change.value(self.plain, self.plain[name])
        if name not in self.recipe.derived or change.within is None:
            return self.plain[name]
        if change.within == name:
            return self._usual(name, self.plain.changed(replace(change, within="")))
        return self._usual(name, self)

    def _usual(self, name: str, scope: Scope) -> Any:
        return self.recipe.derived[name](scope) if name in self.recipe.derived else self._base[name]

    def __iter__(self) -> Any:
        return iter((*self.recipe.derived, *(name for name in self._base if name not in self.recipe.derived)))

    def __len__(self) -> int:
        return len({*self._base, *self.recipe.derived})

    def changed(self, change: Change) -> Scope:
        return Scope(self.problem, self.recipe, change, self.plain)

    def arrays(self) -> dict[str, np.ndarray]:
        """The ingredients that are arrays of floats."""
        found = {name: self[name] for name in self}
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"}


def reference(index: int) -> Value:
    """The gradient of an input as its operator's own backward gives it: of what is in the scope."""

    def value(scope: Scope) -> Any:
        problem = scope.problem
        attributes = {name: scope[name] for name in problem.attributes}
        return problem.backward({name: scope[name] for name in problem.ingredients}, **attributes)[index]

    return value
