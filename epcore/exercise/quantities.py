"""Names of factors: what a coefficient is in terms of a case's sizes and attributes, where only one thing fits all cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, product

import numpy as np

from epcore.exercise.problem import Problem

_SHORT = 1.5  # what a product that has a name of its own costs: more than one factor, less than two
_NEAR = 1e-7  # least squares give a coefficient to about 1e-12; whether it is what it is called, its values show


@lru_cache(maxsize=64)
def quantities(problem: Problem) -> dict[str, float]:
    """Numbers of a case by name: sizes of the maps, the kernel, numeric attributes."""
    named: dict[str, float] = {}
    x, y = np.shape(problem.case.arrays[0]), np.shape(problem.y)
    if len(x) == 4:
        named |= {"N": x[0], "H": x[1], "W": x[2], "C": x[3]}
    if len(x) == len(y) == 4:
        if problem.op.kernel_axes or "stride" in problem.attributes or "size" in problem.attributes:
            named |= {"OH": y[1], "OW": y[2]}
        if problem.op.kernel_axes and not problem.op.kernel_axes.depthwise:
            named["Cout"] = y[3]
    if problem.op.kernel_axes:
        named["k"] = problem.case.arrays[1].shape[0]
    for name, value in problem.attributes.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            named[name] = value
            if value < 1:
                named[f"(1 - {name})"] = 1 - value
    if len(x) == 4:
        named["(N*H*W)"] = x[0] * x[1] * x[2]
        named["(N*H*W - 1)"] = max(x[0] * x[1] * x[2] - 1, 1)
    named["elements"] = np.size(problem.case.arrays[0])
    for name, array in zip(problem.names, problem.case.arrays, strict=True):
        if array is not None and array.any() and set(np.unique(array)) <= {0.0, 1.0}:
            named[f"(elements with {name} 1)"] = float(np.broadcast_to(array, problem.case.arrays[0].shape).sum())
    return {name: float(value) for name, value in named.items()}


@dataclass(frozen=True)
class Factor:
    """text: what a coefficient is. of(problem) -> its value in a case, None where the case has no such sizes."""

    text: str
    of: Callable[[Problem], float | None]


def name_of(values: Sequence[float], problems: Sequence[Problem]) -> Factor | None:
    """What values, one a case, are; None where nothing fits, or more than one thing does.

    A plain number comes first: where all values are equal it is that.
    """
    found = np.asarray(values, float)
    if not np.isfinite(found).all():
        return None
    if np.abs(found - found[0]).max() <= _NEAR * max(1.0, abs(found[0])):
        number = plain_number(float(found[0]), len(found))
        return None if number is None else Factor(str(number), lambda _: float(number))
    if len(found) < 2 or (found == 0).any() or len(set(np.sign(found))) > 1:
        return None
    named = [quantities(problem) for problem in problems]
    common = tuple(name for name in named[0] if all(name in each for each in named))
    logs = np.log([[each[name] for name in common] for each in named])
    exponents = _monomials(len(common))
    for constant in (1, 2, Fraction(1, 2), 4, Fraction(1, 4)):
        target = np.log(np.abs(found) / float(constant))
        fitting = exponents[np.abs(exponents @ logs.T - target).max(axis=1) <= _NEAR]
        if len(fitting):
            sizes = np.abs(fitting) @ [
                _SHORT if len(name) > 1 and name not in problems[0].attributes else 1.0 for name in common
            ]
            if (sizes == sizes.min()).sum() > 1:
                return None
            chosen = dict(zip(common, fitting[sizes.argmin()].tolist(), strict=True))
            return _product(chosen, Fraction(constant), float(np.sign(found[0])))
    return None


def _product(exponents: dict[str, int], constant: Fraction, sign: float) -> Factor:
    used = {name: exponent for name, exponent in exponents.items() if exponent}

    def of(problem: Problem) -> float | None:
        numbers = quantities(problem)
        if not used.keys() <= numbers.keys():
            return None
        return sign * float(constant) * float(np.prod([numbers[name] ** exponent for name, exponent in used.items()]))

    return Factor(("-" if sign < 0 else "") + _text(tuple(used), list(used.values()), constant), of)


def plain_number(value: float, cases: int) -> Fraction | None:
    """A fraction of small numbers that it is, if it is one. Of one case alone, which has such numbers for sizes, of up to 4."""
    above, below = (64, 16) if cases > 1 else (4, 4)
    fraction = Fraction(value).limit_denominator(below)
    near = abs(float(fraction) - value) <= _NEAR * max(abs(value), 1e-3)
    return fraction if near and abs(fraction.numerator) <= above else None


@lru_cache
def _monomials(count: int) -> np.ndarray:
    """(products, count): exponents of products of up to four of so many numbers; a square is two."""
    return np.array(
        [
            _placed(count, chosen, signs)
            for factors in range(1, 5)
            for chosen in combinations(range(count), factors)
            for signs in (product((-2, -1, 1, 2), repeat=factors) if factors < 4 else ((1,) * 4, (-1,) * 4))
            if sum(map(abs, signs)) <= 4
        ]
    )


def _placed(count: int, chosen: tuple[int, ...], signs: tuple[int, ...]) -> list[int]:
    exponents = [0] * count
    for place, exponent in zip(chosen, signs, strict=True):
        exponents[place] = exponent
    return exponents


def _text(names: tuple[str, ...], exponents: Sequence[int], constant: Fraction) -> str:
    above = [str(constant.numerator)] if constant.numerator != 1 else []
    below = [str(constant.denominator)] if constant.denominator != 1 else []
    above += list(_powers(names, exponents))
    below += list(_powers(names, [-each for each in exponents]))
    bottom = below[0] if len(below) == 1 else "(" + " * ".join(below) + ")"
    return (" * ".join(above) or "1") + (f" / {bottom}" if below else "")


def _powers(names: tuple[str, ...], exponents: Sequence[int]) -> Iterator[str]:
    for name, exponent in zip(names, exponents, strict=True):
        if exponent > 0:
            yield name if exponent == 1 else f"{name}^{exponent}"
