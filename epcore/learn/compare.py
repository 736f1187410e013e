"""How a student's array differs from the right one, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from epcore.exercise.values import Unknown

# Relative to the largest value. Double rounds by 2^-53 = 1e-16, so that sums of 10^4 terms are off by less than 1e-11 of what
# is summed; a wrong formula is off by more than 1e-7.
DOUBLE = 1e-9
# In float32 the same sums stay below 10^2 * 2^-24.
SINGLE = 1e-5


def difference(got: Any, right: np.ndarray, bound: float = DOUBLE) -> str:
    """Empty where `got` is right: of that shape, and within `bound` times the largest value."""
    if isinstance(got, Unknown) or not isinstance(got, np.ndarray | np.generic | float | int):
        kind = got.kind if isinstance(got, Unknown) else type(got).__name__
        return f"it is {_article(kind)}, expected an array of shape {right.shape}"
    got = np.asarray(got)
    if got.shape != right.shape:
        return f"it has shape {got.shape}, expected {right.shape}"
    if not np.isfinite(got).all():
        return f"it has values that are NaN or infinite, the first at {_place(~np.isfinite(got))}"
    error, scale = np.abs(got - right), float(np.abs(right).max(initial=0))
    wrong = error > bound * max(scale, 1e-30)
    if not wrong.any():
        return ""
    if scale and (factor := float((got * right).sum() / (right * right).sum())) and _is(got, factor * right, scale):
        return f"it is {factor:.6g} times what it should be"
    if right.ndim == 4 and got.dtype.kind == "f":
        for axis, name in ((1, "row"), (2, "column")):
            for shift, where in ((1, "down" if axis == 1 else "right"), (-1, "up" if axis == 1 else "left")):
                if right.shape[axis] > 2 and _inner_equal(got, np.roll(right, shift, axis), axis, scale):
                    return f"it is shifted by one {name} {where}: the smaller half of the padding comes first"
    at = np.unravel_index(int(error.argmax()), right.shape)
    share = f"{wrong.mean():.0%} of its values are wrong{_border(wrong)}"
    return f"{share}, most at {tuple(map(int, at))}: {got[at]:.6g}, expected {right[at]:.6g}"


def _is(got: np.ndarray, other: np.ndarray, scale: float) -> bool:
    return bool((np.abs(got - other) <= 1e-6 * scale).all())


def _inner_equal(got: np.ndarray, other: np.ndarray, axis: int, scale: float) -> bool:
    """But for the ends of the axis, where something else has come in."""
    inner = (slice(None),) * axis + (slice(1, -1),)
    return _is(got[inner], other[inner], scale)


def _border(wrong: np.ndarray) -> str:
    if wrong.ndim == 4 and min(wrong.shape[1:3]) > 2 and not wrong[:, 1:-1, 1:-1].any():
        return ", all of them at the border"
    return ""


def _place(marked: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(marked.argmax()), marked.shape))


def _article(kind: str) -> str:
    return "None" if kind == "NoneType" else f"of type {kind}"
