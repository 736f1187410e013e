"""Least squares of a student's gradient on what it could be made of, and names for the coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from epcore.exercise.evidence import FEW, Explanation, Sample, wrong_values
from epcore.exercise.quantities import Factor, name_of

Columns = Callable[[Sample], list[np.ndarray]]
_ALIKE = 1e-6  # of the smallest singular value to the largest, of columns of length 1: below it they cannot be told apart


def coefficients(sample: Sample, columns: Columns) -> np.ndarray | None:
    """Of the columns, NaN for one that is 0 here, where they give the student's values; None where they do not."""
    try:
        with np.errstate(all="ignore"):
            parts = [np.broadcast_to(np.asarray(part, float), sample.got.shape).ravel() for part in columns(sample)]
    except Exception:  # a part that there is not, or of shapes that do not fit
        return None
    lengths = np.array([np.linalg.norm(part) for part in parts])
    if not np.isfinite(lengths).all():
        return None
    there = [i for i, length in enumerate(lengths) if length > 0]
    found = np.full(len(parts), np.nan)
    if not there:
        return found if not sample.got.any() else None
    matrix = np.stack([parts[i] / lengths[i] for i in there], axis=1)
    if matrix.shape[0] < matrix.shape[1] or np.linalg.svd(matrix, compute_uv=False)[-1] < _ALIKE:
        return None
    found[there] = np.linalg.lstsq(matrix, sample.got.ravel(), rcond=None)[0] / lengths[there]
    values = sum(found[i] * parts[i] for i in there)
    return found if sample.is_given_by(np.reshape(values, sample.got.shape), float(np.nansum(np.abs(found)))) else None


NOTHING = Factor("", lambda _: 0.0)  # the coefficient of a column that is always 0


def fitted(samples: Sequence[Sample], columns: Columns) -> list[Factor] | None:
    """The coefficient of every column, None where the columns do not give all values, or where a coefficient has no name."""
    found = []
    for sample in samples:
        each = coefficients(sample, columns)
        if each is None:
            return None
        found.append(each)
    table = np.array(found)
    if wrong_values(samples) < FEW + np.isfinite(table).sum(axis=1).max():
        return None
    factors = []
    for column in table.T:
        there = [i for i, value in enumerate(column) if np.isfinite(value)]
        factor = name_of(column[there].tolist(), [samples[i].problem for i in there]) if there else NOTHING
        if factor is None:
            return None
        factors.append(factor)
    return factors


def explanation(samples: Sequence[Sample], columns: Columns, text: Callable[[list[str]], str | None]) -> Explanation | None:
    """Of all samples, with the numbers that the coefficients are called, not those that were found.

    text(names of the coefficients) -> the clause, None where there is none.
    """
    if not samples or (factors := fitted(samples, columns)) is None:
        return None
    if (clause := text([factor.text for factor in factors])) is None:
        return None

    def predict(sample: Sample) -> np.ndarray | None:
        found = np.zeros(sample.got.shape)
        for factor, part in zip(factors, columns(sample), strict=True):
            number = factor.of(sample.problem)
            if number is None:
                return None
            found = found + number * np.broadcast_to(part, found.shape)
        return found

    return Explanation(clause, predict)


def times(name: str) -> str | None:
    """A clause for a gradient that is so many times what it should be; None for 1."""
    if name in ("1", ""):
        return None
    if name == "-1":
        return "the right one with the wrong sign"
    if name == "0":
        return "0 everywhere"
    return f"{name} times the right one"
