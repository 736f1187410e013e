"""Batch norm gone wrong: epsilon, statistics, gamma and beta; drop-connect that does something at inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from epcore.ops.batch_norm import EPSILON
from epcore.port.mistakes.mistake import Mistake, correct
from epcore.shapes import Shape


def batch_norm(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Epsilon, statistics, and what scales and shifts."""
    op, right = "batch_norm", attributes.get("epsilon", EPSILON)
    for epsilon in (1e-5, 1e-4, 1e-6, 1e-7, 1e-8, 1e-2, 0.0, 1e-12):
        if epsilon != right:
            yield Mistake(
                f"batch norm with epsilon {epsilon:g}",
                f"epsilon is {right:g}, as Keras has it",
                lambda *arrays, _e=epsilon, **a: correct(op, *arrays, **{**a, "epsilon": _e}),
            )
    if attributes.get("training"):
        yield Mistake(
            "batch norm with running statistics",
            "in training it takes those of the batch",
            lambda *arrays, **a: correct(op, *arrays, **{**a, "training": False}),
        )
    else:
        yield Mistake(
            "batch norm with the statistics of the batch (training mode)",
            "at inference it takes the running ones",
            lambda *arrays, **a: correct(op, *arrays, **{**a, "training": True}),
        )

    def deviation(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, **a: Any) -> np.ndarray:
        y: np.ndarray = gamma * (x - mean) / (variance + a.get("epsilon", EPSILON)) + beta
        return y

    yield Mistake("batch norm divides by the variance", "it divides by its square root", deviation)
    yield Mistake(
        "batch norm adds epsilon to the standard deviation",
        "epsilon goes under the square root",
        lambda x, g, b, m, v, **a: g * (x - m) / (np.sqrt(v) + a.get("epsilon", EPSILON)) + b,
    )
    yield Mistake("batch norm left out", "this layer has one", lambda x, *rest, **a: x)
    yield Mistake(
        "batch norm without gamma",
        "it scales by gamma",
        lambda x, g, b, m, v, **a: correct(op, x, np.ones_like(g), b, m, v, **a),
    )
    yield Mistake(
        "batch norm without beta", "it adds beta", lambda x, g, b, m, v, **a: correct(op, x, g, np.zeros_like(b), m, v, **a)
    )
    yield Mistake(
        "gamma and beta exchanged", "gamma scales, beta is added", lambda x, g, b, m, v, **a: correct(op, x, b, g, m, v, **a)
    )


def drop_connect(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Scaled at inference too."""
    rate, hint = attributes.get("rate", 0.0), "at inference drop-connect does nothing"
    if rate:
        yield Mistake("scaled by 1 - rate (drop-connect at inference)", hint, lambda x, *m, **a: x * (1 - rate))
        yield Mistake("scaled by 1 / (1 - rate) (drop-connect at inference)", hint, lambda x, *m, **a: x / (1 - rate))
