"""Threads of the plans: atomic counters, waiting for one, and a crew of waiting threads.

A plan's steps take microseconds each, so threads meet in memory (well under a microsecond) instead of being woken for every
step. A step is over when all its tasks are done, whoever did them: a thread that the system has put aside holds nobody up
unless it has a task in hand. Tasks are handed out by counters: each thread has its own share of a step, worked through in
order so that it finds in its cache what it wrote in the step before, and helps with the others' shares when it is done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types

from epcore.kernels.cpu.simd import Values, _element, _instruction

PAUSES = 2000  # spins before a waiting thread offers its core to others
LINE = 8  # int64 a cache line: counters of different threads do not share one


@_instruction
def fetch_add(typing_context: Any, array: Any, index: Any, amount: Any) -> Any:
    """array[index] += amount as one indivisible step; the value before it. For int64 arrays."""

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return builder.atomic_rmw("add", _element(context, builder, call.args[0], *args[:2]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@_instruction
def load_shared(typing_context: Any, array: Any, index: Any) -> Any:
    """array[index] as another thread last left it, together with everything that thread wrote before."""

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return builder.load_atomic(_element(context, builder, call.args[0], *args), "acquire", 8)

    return types.int64(array, types.intp), generate


if os.name == "posix":
    _yield = types.ExternalFunction("sched_yield", types.int32())
else:  # pragma: no cover - spins on

    @njit
    def _yield() -> int:
        return 0


@njit(error_model="numpy")
def wait(counters: np.ndarray, index: int, count: int) -> None:
    """Stay until counters[index] is `count` or more."""
    spins = 0
    while load_shared(counters, index) < count:
        spins += 1
        if spins > PAUSES:
            _yield()


class Crew:
    """`count` threads: the caller and `count - 1` that sleep until `run` is called."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()  # one run at a time
        self._job: Callable[[int], None] = lambda thread: None
        self._start = [threading.Semaphore(0) for _ in range(count - 1)]
        self._done = [threading.Semaphore(0) for _ in range(count - 1)]
        for i in range(count - 1):
            threading.Thread(target=self._work, args=(i,), daemon=True, name=f"epcore-{i + 1}").start()

    def _work(self, i: int) -> None:
        while True:
            self._start[i].acquire()
            try:
                self._job(i + 1)
            finally:
                self._done[i].release()

    def run(self, job: Callable[[int], None]) -> None:
        """job(thread) on every thread at once; back when all are."""
        with self._lock:
            self._job = job
            for start in self._start:
                start.release()
            try:
                job(0)
            finally:
                for done in self._done:
                    done.acquire()


_crews: dict[int, Crew] = {}


def crew(count: int) -> Crew:
    """The crew of this size; all plans of a process share it."""
    if count not in _crews:
        _crews[count] = Crew(count)
    return _crews[count]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_crews.clear)  # threads do not survive a fork
