"""A student's gradients of one input, case by case, and whether an explanation gives exactly these values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from epcore.exercise.problem import OPERATIONS, Problem
from epcore.exercise.scope import Scope
from epcore.exercise.terms import recipe_of

FEW = 4  # wrong values that an explanation has to give right, at least, besides those that its free numbers are found from
TIMES = ", times "
_MILLIONTH = 1e-6  # of the largest value: no bound is wider, whatever it was derived from


@dataclass(frozen=True)
class Sample:
    """One case. got: the student's gradient, floats, finite and of the right shape. index: of the input."""

    problem: Problem
    index: int
    got: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return np.asarray(self.problem.right[self.index])

    @property
    def name(self) -> str:
        return self.problem.names[self.index]

    @property
    def coarse(self) -> bool:
        """Of a dtype that holds fewer digits than dy has."""
        return self.got.dtype.itemsize < self.problem.dy.dtype.itemsize

    def bound(self, largest: float, weight: float = 1.0) -> float:
        """What values may differ from the student's by, for rounding, where the largest of them is this.

        weight: sum of the sizes of the coefficients that they were made with: each multiplies a rounding.
        """
        usual = float(np.abs(self.right).max(initial=0))
        grown = max(1.0, weight, largest / usual if usual else 1.0)  # values that are larger carry larger roundings
        widest = _MILLIONTH * max(largest, usual)
        if self.coarse:
            widest = OPERATIONS * float(np.finfo(self.got.dtype).eps) * max(largest, usual)
            return max(widest, 1e-300)
        return max(min(self.problem.rounding * grown, widest), 1e-300)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Which entries are."""
        return np.asarray(~(np.abs(self.got - self.right) <= self.bound(0.0)))

    @property
    def is_right(self) -> bool:
        return not self.wrong.any()

    @cached_property
    def scope(self) -> Scope:
        return Scope(self.problem, recipe_of(self.problem))

    def is_given_by(self, values: np.ndarray | None, weight: float = 1.0) -> bool:
        """Whether these are the student's values, but for rounding. weight: as in `bound`."""
        if values is None or np.shape(values) != self.got.shape or not np.isfinite(values).all():
            return False
        bound = self.bound(float(np.abs(values).max(initial=0)), weight)
        return bool(np.abs(self.got - values).max(initial=0) <= bound)


Predict = Callable[[Sample], np.ndarray | None]


@dataclass(frozen=True)
class Explanation:
    """text: a clause about the gradient. predict: its values in any case, None where it says nothing of it."""

    text: str
    predict: Predict

    @property
    def factor(self) -> bool:
        """Whether it needs a factor besides, which makes it the less likely one."""
        return TIMES in self.text


def wrong_values(samples: Sequence[Sample]) -> int:
    return sum(int(sample.wrong.sum()) for sample in samples)


def explains(predict: Predict, samples: Sequence[Sample]) -> bool:
    """All values of all of them. The first that differs ends it."""
    return all(sample.is_given_by(quietly(predict, sample)) for sample in samples)


def quietly(predict: Predict, sample: Sample) -> np.ndarray | None:
    """What is no number, or of shapes that do not fit, is no explanation; nothing is said of it."""
    try:
        with np.errstate(all="ignore"):
            found = predict(sample)
            return None if found is None else np.asarray(found, float)
    except Exception:  # whatever the operator's backward makes of what it is never given
        return None
