"""Values joined otherwise: those of a window in pooling, those of several inputs in sums and concatenations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np

from epcore.port.mistakes.mistake import Mistake
from epcore.shapes import Shape

ORDERS_OF_CONCAT = 24  # four inputs; of more only the reversed order is tried


def _windows(x: np.ndarray, size: int) -> np.ndarray:
    """(N,H,W,C) -> (N,H/size,size,W/size,size,C), an odd rest cut."""
    N, H, W, C = x.shape
    x = x[:, : H // size * size, : W // size * size]
    return x.reshape(N, H // size, size, W // size, size, C)


def avg_pool(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Other ways to make one value of a window."""
    size, hint = attributes.get("size", 2), "the mean of every window"
    yield Mistake("maximum of every window", hint, lambda x, **a: _windows(x, size).max((2, 4)))
    yield Mistake("every second pixel", hint, lambda x, **a: _windows(x, size)[:, :, 0, :, 0])
    yield Mistake("sum of every window", hint, lambda x, **a: _windows(x, size).sum((2, 4)))


def max_pool(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """The mean, where windows do not overlap or reach beyond the border."""
    size, stride = attributes.get("size", 2), attributes.get("stride", 2)
    if size == stride and shapes[0] is not None and all(n % size == 0 for n in shapes[0][1:3]):
        yield Mistake("mean of every window", "the maximum of every window", lambda x, **a: _windows(x, size).mean((2, 4)))


def add(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """One input only, or both joined otherwise."""
    yield Mistake("the sum left out: only its first input", "this layer adds both", lambda a, b: a)
    yield Mistake("the sum left out: only its second input", "this layer adds both", lambda a, b: b)
    yield Mistake("the inputs multiplied", "this layer adds both", lambda a, b: a * b)
    yield Mistake("the mean of the inputs", "this layer adds both", lambda a, b: (a + b) / 2)


def concat(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Every other order of the inputs."""
    count = len(shapes)
    right = tuple(range(count))
    orders = list(permutations(right)) if factorial(count) <= ORDERS_OF_CONCAT else [right[::-1]]
    for order in orders:
        if order != right:
            said = "reversed" if order == right[::-1] else ", ".join(str(i + 1) for i in order)
            yield Mistake(
                f"concat order: inputs {said}",
                "see the layer's inputs for the right order",
                lambda *xs, _o=order: np.concatenate([xs[i] for i in _o], axis=-1),
            )
