"""Small graphs on a student's tape, with operators that are simple enough to be right."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

_alive: list[weakref.ref[Any]] = []  # what `noted` saved


def _noted(x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray]]:
    kept = x.copy()
    _alive.append(weakref.ref(kept))
    return x + 0, (kept,)


def _operator(forward: Callable[..., Any], backward: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(forward=forward, backward=backward)


OPERATORS = {
    "square": _operator(lambda x: (x * x, (x,)), lambda dy, saved: (2 * saved[0] * dy,)),
    "scale": _operator(lambda x, *, factor: (factor * x, ()), lambda dy, saved, *, factor: (factor * dy,)),
    "add": _operator(lambda a, b: (a + b, ()), lambda dy, saved: (dy, dy)),
    "multiply": _operator(lambda a, b: (a * b, (a, b)), lambda dy, saved: (dy * saved[1], dy * saved[0])),
    "total": _operator(lambda x: (np.asarray(x.sum()), (x.shape,)), lambda dy, saved: (np.full(saved[0], dy),)),
    "masked": _operator(lambda x, mask: (x * mask, (mask,)), lambda dy, saved: (dy * saved[0], None)),
    "shift": _operator(
        lambda x, b: (x if b is None else x + b, (b is None,)), lambda dy, saved: (dy, None if saved[0] else dy)
    ),
    "noted": _operator(_noted, lambda dy, saved: (dy,)),
}


def run(module: ModuleType, scenario: str, *arrays: np.ndarray) -> Any:
    """Gradients of the arrays, in order, of the scenario of that name."""
    tape = module.Tape(OPERATORS)
    tensors = [tape.watch(array) for array in arrays]
    return globals()[f"_{scenario}"](tape, *tensors)


def _gradients(tape: Any, output: Any, *tensors: Any) -> list[Any]:
    tape.backward(tape.apply("total", output))
    return [tape.gradient(tensor) for tensor in tensors]


def _values(tape: Any, x: Any) -> Any:
    return tape.apply("scale", tape.apply("square", x), factor=3.0).data


def _chain(tape: Any, x: Any) -> list[Any]:
    return _gradients(tape, tape.apply("scale", tape.apply("square", x), factor=3.0), x)


def _two(tape: Any, x: Any, w: Any) -> list[Any]:
    return _gradients(tape, tape.apply("multiply", x, w), x, w)


def _twice(tape: Any, x: Any) -> list[Any]:
    return _gradients(tape, tape.apply("add", tape.apply("multiply", x, x), x), x)


def _shared(tape: Any, x: Any, w: Any) -> list[Any]:
    y = tape.apply("add", x, w)
    return _gradients(tape, tape.apply("add", y, x), x, w)


def _diamond(tape: Any, x: Any) -> list[Any]:
    a = tape.apply("square", x)
    b = tape.apply("scale", a, factor=2.0)
    return _gradients(tape, tape.apply("multiply", a, b), x)


def _constant(tape: Any, x: Any) -> list[Any]:
    return _gradients(tape, tape.apply("multiply", x, np.full((2, 3), 4.0)), x)


def _data(tape: Any, x: Any) -> list[Any]:
    return _gradients(tape, tape.apply("shift", tape.apply("masked", x, np.full((2, 3), 0.5)), None), x)


def _unused(tape: Any, x: Any, w: Any) -> list[Any]:
    tape.apply("square", w)
    return _gradients(tape, tape.apply("square", x), x, w)


def _again(tape: Any, x: Any) -> str:
    loss = tape.apply("total", x)
    tape.backward(loss)
    try:
        tape.backward(loss)
    except RuntimeError:
        return "RuntimeError"
    except Exception as error:
        return type(error).__name__
    return "nothing"


def _released(tape: Any, x: Any) -> bool:
    _gradients(tape, tape.apply("noted", x), x)
    gc.collect()
    return all(reference() is None for reference in _alive)
