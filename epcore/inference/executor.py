"""Runs a program: every thread walks the same rows, takes tasks, and goes on when all tasks of a row are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from epcore.inference import steps
from epcore.inference.steps import kinds
from epcore.inference.steps.record import Kind, fields, record, viewer
from epcore.kernels.cpu.crew import LINE, fetch_add, wait
from epcore.kernels.cpu.jit import released_kernel

_view = viewer(record(*fields()))  # what all records begin with
_SOURCES = sorted(Path(steps.__file__).parent.glob("*.py"))


def executor(used: Iterable[Kind] = ()) -> Callable[..., None]:
    """execute(arena, picture, rows, counters, done, thread, threads) for rows of these kinds: of all there are, where one of
    them is rare, else of all that are not."""
    rare = any(kind.rare for kind in used)
    return _executor(tuple(kind for kind in kinds() if rare or not kind.rare))


@cache
def _executor(all_kinds: Sequence[Kind]) -> Callable[..., None]:
    dispatch = _chain(all_kinds)
    files = {Path(kind.run.py_func.__code__.co_filename) for kind in all_kinds}

    @released_kernel(sources=sorted({*_SOURCES, *files}))
    def execute(
        arena: np.ndarray,
        picture: np.ndarray,
        rows: np.ndarray,
        counters: np.ndarray,
        done: np.ndarray,
        thread: int,
        threads: int,
    ) -> None:
        """Run all rows as thread number `thread` of `threads`.

        counters: int64 zeros, LINE for each row and thread: tasks taken from each share. done: the same for each row: tasks
        finished.
        """
        for s in range(rows.shape[0]):
            row = rows[s]
            head = _view(row)
            kind, tasks = head.kind, head.tasks
            mine = 0
            for turn in range(threads):
                owner = (thread + turn) % threads
                first, last = owner * tasks // threads, (owner + 1) * tasks // threads
                while first < last:
                    task = first + fetch_add(counters, (s * threads + owner) * LINE, 1)
                    if task >= last:
                        break
                    mine += 1
                    dispatch(kind, (arena, row, task, thread, picture))
            fetch_add(done, s * LINE, mine)
            wait(done, s * LINE, tasks)

    return execute


def _chain(order: Sequence[Kind], number: int = 0) -> Any:
    """dispatch(kind, arguments) runs the kernel of that number: one question after the other, as a written-out `elif` would.

    Inlined before they are compiled: compiled one by one, each would be optimised again with all that come after it.
    """
    run = order[number].run
    if number == len(order) - 1:

        @njit(error_model="numpy", inline="always")
        def last(kind, arguments):  # type: ignore[no-untyped-def]
            run(*arguments)

        return last
    rest = _chain(order, number + 1)

    @njit(error_model="numpy", inline="always")
    def dispatch(kind, arguments):  # type: ignore[no-untyped-def]
        if kind == number:
            run(*arguments)
        else:
            rest(kind, arguments)

    return dispatch
