"""Windows laid otherwise than they lie: another padding, another stride, contributions that overwrite each other.

An operator with windows is computed on a large canvas of zeros at stride 1, on which x and dy can lie as one likes: with pixel
i of the small side at row i * s' of the canvas, and the large side p' below. So any padding p' and stride s' are tried with the
operator's own backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from epcore.exercise.evidence import Explanation, Predict, Sample
from epcore.exercise.problem import Problem
from epcore.shapes import Shape, Window


def window_of(problem: Problem) -> Window | None:
    """Where its windows lie: over x, or for a transposed convolution over y; None for an operator without."""
    shapes: list[Any] = [None if array is None else array.shape for array in problem.case.arrays]
    op, attributes = problem.op, problem.case.attributes
    return op.window(*shapes, **attributes) or op.spread(*shapes, **attributes)


def explanations(sample: Sample) -> Iterator[Explanation]:
    """What is worth a try for a sample's input, the plain ones first; they hold in every case in which they say something."""
    if window_of(sample.problem) is None or "stride" not in sample.problem.attributes:
        return
    for title in _PADDINGS:
        for where, rows, columns in _SIDES:
            clause = f"the windows lie as if the padding {where} were {title}"
            yield Explanation(clause, _laid(title if rows else None, title if columns else None, True, True))
    for where, rows, columns in (("", False, False), (" for the rows", False, True), (" for the columns", True, False)):
        yield Explanation(f"the stride is left out{where}", _laid(None, None, rows, columns))
    for what in ("last", "first"):
        clause = f"of the pixels of dy that contribute to one value only the {what} counts: it is assigned, not added up"
        yield Explanation(clause, _overwritten_by_pixel(what == "last"))
    if sample.problem.op.kernel_axes:
        for what in ("last", "first"):
            clause = f"of the taps that contribute to one value only the {what} counts: it is assigned, not added up"
            yield Explanation(clause, _overwritten_by_tap(what == "last"))


_SIDES = (
    ("above and on the left", True, True),
    ("above", True, False),
    ("on the left", False, True),
)
# Text -> the padding before the first row, of (padding before, after, kernel, stride).
_PADDINGS: dict[str, Callable[[int, int, int, int], int]] = {
    "0": lambda before, after, k, s: 0,
    "the one that comes after (the smaller half comes first)": lambda before, after, k, s: after,
    "that of stride 1, (k - 1) / 2": lambda before, after, k, s: (k - 1) // 2,
    "k / 2": lambda before, after, k, s: k // 2,
    "k - 1": lambda before, after, k, s: k - 1,
    "all there is": lambda before, after, k, s: before + after,
    "k - 1 - p": lambda before, after, k, s: k - 1 - before,
    "one less": lambda before, after, k, s: before - 1,
    "one more": lambda before, after, k, s: before + 1,
}


def _laid(above: str | None, left: str | None, stride_rows: bool, stride_columns: bool) -> Predict:
    """The gradient with these paddings (None: the right one), and with or without the stride."""

    def predict(sample: Sample) -> np.ndarray | None:
        window = window_of(sample.problem)
        if window is None:
            return None
        starts = []
        for title, (before, after), k in zip((above, left), window.padding[1:3], window.kernel, strict=True):
            starts.append(before if title is None else _PADDINGS[title](before, after, k, window.stride))
        strides = tuple(window.stride if each else 1 for each in (stride_rows, stride_columns))
        return np.asarray(_on_canvas(sample.problem, window, (starts[0], starts[1]), strides, sample.index))

    return predict


def _on_canvas(problem: Problem, window: Window, starts: tuple[int, int], strides: tuple[int, ...], index: int) -> Any:
    large, spreads = window.x, problem.op.window(*_shapes(problem), **problem.case.attributes) is None
    small = problem.case.arrays[0].shape if spreads else np.shape(problem.dy)
    margin = 2 * max(window.kernel) + 8
    rows, columns = (n + m * s + 2 * margin for n, m, s in zip(large[1:3], small[1:3], strides, strict=True))
    usual = [(k - 1) // 2 for k in window.kernel]  # padding at stride 1
    first = [p + margin - start for p, start in zip(usual, starts, strict=True)]
    places = [begin + np.arange(n) * s for begin, n, s in zip(first, small[1:3], strides, strict=True)]

    def put(array: np.ndarray, sparse: bool) -> np.ndarray:
        canvas = np.zeros((array.shape[0], rows, columns, array.shape[3]), array.dtype)
        if sparse:
            canvas[:, places[0][:, None], places[1][None]] = array
        else:
            canvas[:, margin : margin + large[1], margin : margin + large[2]] = array
        return canvas

    def placed(value: Any) -> Any:
        if value is problem.case.arrays[0]:
            return put(value, spreads)
        if isinstance(value, np.ndarray) and value.shape[1:3] == small[1:3] and value.ndim == 4 and value.dtype.kind == "u":
            return put(value, True)
        if isinstance(value, tuple) and value == problem.case.arrays[0].shape:
            return (value[0], rows, columns, value[3])
        return value

    saved = tuple(placed(value) for value in problem.saved)
    found = problem.op.backward(put(problem.dy, not spreads), saved, **{**problem.case.attributes, "stride": 1})[index]
    if index:
        return found
    if spreads:
        return found[:, places[0][:, None], places[1][None]]
    return found[:, margin : margin + large[1], margin : margin + large[2]]


def _shapes(problem: Problem) -> list[Shape | None]:
    return [None if array is None else array.shape for array in problem.case.arrays]


def _overwritten_by_pixel(last: bool) -> Predict:
    def predict(sample: Sample) -> np.ndarray | None:
        problem = sample.problem
        pixels = list(np.ndindex(*problem.dy.shape[1:3]))
        contributions = []
        for i, j in pixels if last else reversed(pixels):
            one = np.zeros_like(problem.dy)
            one[:, i, j] = problem.dy[:, i, j]
            contributions.append(problem.backward({"dy": one})[sample.index])
        return _overwritten(contributions)

    return predict


def _overwritten_by_tap(last: bool) -> Predict:
    def predict(sample: Sample) -> np.ndarray | None:
        problem = sample.problem
        if sample.index:
            return None
        w = problem.ingredients[problem.names[1]]
        taps = list(np.ndindex(*w.shape[:2]))
        contributions = []
        for u, v in taps if last else reversed(taps):
            one = np.zeros_like(w)
            one[u, v] = w[u, v]
            contributions.append(problem.backward({problem.names[1]: one})[0])
        return _overwritten(contributions)

    return predict


def _overwritten(contributions: list[np.ndarray]) -> np.ndarray:
    """Each in the place of what was there."""
    found = np.zeros_like(contributions[0])
    for each in contributions:
        found = np.where(each != 0, each, found)
    return found
