"""How far two threads are from each other: the time a cache line takes between the cores they run on.

Where the system moves them, this number moves, and with it everything that two threads share. Look at it before two runs with
several threads are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Book, Row
from measure import side_by_side
from numba import njit

from epcore.kernels.cpu.crew import LINE, crew, fetch_add, load_shared
from epcore.threads import get_threads

PASSES = 10_000


@njit(error_model="numpy", nogil=True)
def take_turns(counter: np.ndarray, me: int, passes: int) -> None:
    """Count on whenever the other has: every step is one trip of the line. me: 0 or 1."""
    for i in range(me, passes, 2):
        while load_shared(counter, 0) < i:
            pass
        fetch_add(counter, 0, 1)


def bench_line_between_threads(book: Book, benchmark: Any) -> None:
    if get_threads() < 2:
        pytest.skip("one thread has nobody to pass a line to")
    counter = np.zeros(LINE, np.int64)
    take_turns(counter, 0, 1)  # compiled here, not in the threads

    def run(_: Any = None) -> None:
        counter[:] = 0
        crew(2).run(lambda thread: take_turns(counter, thread, PASSES))

    sample = side_by_side({"epcore": run}, [None], rounds=100)["epcore"]
    benchmark.pedantic(run, rounds=20)
    assert counter[0] == PASSES
    book.add(
        Row("Threads", f"a cache line from one to the other, {PASSES:,} times", "epcore", sample.median * 1e3, sample.spread)
    )
