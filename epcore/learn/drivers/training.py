"""A student's training step, on the student's tape, with the student's network and operators; and what its forward keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from epcore.learn.drivers.network import Forward


class Operators(dict[str, ModuleType]):
    """The student's operators by name, imported when they are asked for."""

    def __missing__(self, name: str) -> ModuleType:
        self[name] = import_module(f"ops.{name}")
        return self[name]


def run(module: ModuleType, function: str, *arguments: Any) -> Any:
    """One of the functions below, by name."""
    functions: dict[str, Callable[..., Any]] = {"steps": steps, "planted": planted, "network": network}
    return functions[function](module, *arguments)


def steps(
    module: ModuleType, p: dict[str, Any], trainable: Sequence[str], x: np.ndarray, target: np.ndarray, rate: float, count: int
) -> Any:
    """(losses, parameters after the first step, whether the step left the parameters it was given as they were)."""
    tape, rt = import_module("tape"), import_module("rt").rt
    losses, first, untouched = [], None, True
    for _ in range(count):
        before = {name: np.array(array) for name, array in p.items()}
        loss, moved = module.step(tape.Tape(Operators()), rt, p, list(trainable), x, target, rate)
        untouched = untouched and all(np.array_equal(before[name], p[name]) for name in before)
        losses.append(loss)
        first = first or moved
        p = moved
    return losses, first, untouched


def planted(module: ModuleType, scenario: str) -> Any:
    """What `kept` counts of a small list."""
    a, b = np.zeros((4, 5)), np.zeros(7, np.float32)
    saved: dict[str, list[tuple[Any, ...]]] = {
        "two arrays": [(a,), (b,)],
        "one array, saved twice": [(a, b), (a,)],
        "a view of an array": [(a[1:, ::2],)],
        "an array and a view of its view": [(a,), (a.reshape(2, 10).T[3:],)],
        "an array beside None, a shape, a number": [(a, None, (4, 5), 3, True)],
        "nothing": [(), ()],
    }
    return module.kept(saved[scenario])


def network(module: ModuleType, x: np.ndarray, p: dict[str, Any]) -> Any:
    """What `kept` counts of the student's whole network."""
    call = Forward(remember=False)
    import_module("rt").rt(call, x, p, training=True)
    return module.kept(call.kept)
