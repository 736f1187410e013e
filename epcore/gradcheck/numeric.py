"""Numerical derivatives in double, to compare hand-written ones with.

For f along a direction v, with step h (fourth order; the error is of the order h^4 * f^(5)):

    f'(0) ~ (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from epcore.op import Op

STEP = 1e-3  # truncation h^4 = 1e-12 and rounding 1e-16 / h = 1e-13 are both far below every bound


def slope(f: Callable[[float], float], step: float = STEP) -> float:
    """f'(0) for a smooth f."""
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


def relative_error(a: float, b: float) -> float:
    """|a - b| over the larger of the two; 0 for two zeros."""
    largest = max(abs(a), abs(b))
    return abs(a - b) / largest if largest else 0.0


def directional_error(op: Op, arrays: Sequence[Any], index: int, rng: np.random.Generator, **attributes: Any) -> float:
    """Relative error of the gradient of one input: <backward(dy)[index], v> against the slope of <forward(x + t v), dy>.

    dy and v are random; v has entries of at most 1, so no input moves by more than 2 * STEP.
    """
    y, saved = op.forward(*arrays, **attributes)
    dy = np.asarray(rng.standard_normal(y.shape))
    gradient = op.backward(dy, saved, **attributes)[index]
    v = rng.uniform(-1, 1, arrays[index].shape)

    def along(t: float) -> float:
        moved = [array + t * v if i == index else array for i, array in enumerate(arrays)]
        return float((op.forward(*moved, **attributes)[0] * dy).sum())

    return relative_error(float((gradient * v).sum()), slope(along))


def jacobian_error(op: Op, arrays: Sequence[Any], index: int, **attributes: Any) -> float:
    """Largest error of any entry of the Jacobian of one input, over the Jacobian's largest entry. For tiny shapes."""
    y, saved = op.forward(*arrays, **attributes)
    rows = []
    for j in range(y.size):
        dy = np.zeros(y.shape)
        dy.reshape(-1)[j] = 1
        rows.append(np.ravel(op.backward(dy, saved, **attributes)[index]))
    exact = np.stack(rows)  # (outputs, inputs)
    numeric = np.empty_like(exact)
    for i in range(arrays[index].size):
        v = np.zeros(arrays[index].shape)
        v.reshape(-1)[i] = 1

        def along(t: float, v: np.ndarray = v) -> np.ndarray:
            moved = [array + t * v if k == index else array for k, array in enumerate(arrays)]
            return np.ravel(op.forward(*moved, **attributes)[0])

        numeric[:, i] = slope(along)  # type: ignore[arg-type]  # works on vectors as it does on numbers
    return float(np.abs(exact - numeric).max() / max(np.abs(exact).max(), np.abs(numeric).max(), 1e-300))
