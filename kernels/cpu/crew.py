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
from queue import SimpleQueue
from typing import Any, TypeVar
from weakref import WeakSet

import numpy as np
from llvmlite import ir
from numba import njit, types

from epcore.kernels.cpu.simd.generation import Values, address, instruction

T = TypeVar("T")

PAUSES = 2000  # spins before a waiting thread offers its core to others
LINE = 8  # int64 a cache line: counters of different threads do not share one


@instruction
def fetch_add(typing_context: Any, array: Any, index: Any, amount: Any) -> Any:
    """array[index] += amount as one indivisible step; the value before it. For int64 arrays."""

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return builder.atomic_rmw("add", address(context, builder, call.args[0], *args[:2]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@instruction
def load_shared(typing_context: Any, array: Any, index: Any) -> Any:
    """array[index] as another thread last left it, together with everything that thread wrote before."""

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return builder.load_atomic(address(context, builder, call.args[0], *args), "acquire", 8)

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


class Job:
    """Work for a crew: who is at it, and whether anyone may still join.

    Nobody joins a closed job, so whoever closes it and sees the last one out knows that it is over.
    """

    def __init__(self, work: Callable[[int], None]) -> None:
        self._work: Callable[[int], None] | None = work
        self._lock = threading.Lock()
        self._joined: set[int] = set()
        self._inside = 0
        self._empty = threading.Lock()  # let go by the last helper that leaves a closed job
        self._empty.acquire()

    def join(self, number: int) -> None:
        """work(number), unless the job is closed or somebody has this number. For helpers, which no signal interrupts."""
        with self._lock:
            work = self._work
            if work is None or number in self._joined:
                return
            self._joined.add(number)
            self._inside += 1
        try:
            work(number)
        finally:
            with self._lock:
                self._inside -= 1
                if self._work is None and not self._inside:
                    self._empty.release()

    def close(self, *, wait: bool) -> None:
        """Let nobody join from now on; wait: until those inside have left. May be called again after an exception in it."""
        with self._lock:
            self._work = None
            inside = self._inside
        if wait and inside:
            self._empty.acquire()


class Crew:
    """`count` threads: the caller and up to `count - 1` helpers that sleep between runs.

    Nothing depends on the helpers: the caller could do all work alone, and does where none comes in time, has died, or could
    not be started. So neither a busy machine nor a fork, which leaves them behind, can make a call wait for a thread that is
    not at work.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        self._turn = threading.RLock()  # one call at a time
        self._busy = False
        self._post: list[Job | None] = [None]  # the job there is
        self._wake: list[SimpleQueue[bool]] = [SimpleQueue() for _ in range(self.count - 1)]
        self._helpers: list[threading.Thread | None] = [None] * (self.count - 1)

    def __del__(self) -> None:
        for wake in self._wake:
            wake.put(False)

    def call(self, action: Callable[[], T]) -> T:
        """action(), when no other call of this crew is in progress and no helper is at work any more.

        Raises RuntimeError in a thread that has such a call in progress: a signal handler that interrupted it would wait for
        itself.
        """
        with self._turn:
            if self._busy:
                raise RuntimeError("a plan was called while this very thread is in a call of one (by a signal handler?)")
            self._busy = True
            try:
                self._dismiss()  # where an exception came while the call before had another to deal with
                return action()
            finally:
                self._busy = False

    def share(self, work: Callable[[int], None]) -> None:
        """`run` within `call`, where no call is in progress; else work(0), alone in this thread, without waiting for a turn."""
        if self._turn.acquire(blocking=False):
            try:
                if not self._busy:
                    self.call(lambda: self.run(work))
                    return
            finally:
                self._turn.release()
        work(0)

    def run(self, work: Callable[[int], None]) -> None:
        """work(thread) on several threads at once, 0 being the caller, each number at most once. Within `call`.

        Back when work(0) is. By then the others must have nothing left to do, though they may be on their way out of `work`.
        After an exception in the caller's thread, a signal handler's for example, they have left.
        """
        job = self._post[0] = Job(work)
        try:
            for i in range(self.count - 1):
                self._call_helper(i)
            work(0)
            job.close(wait=False)
            self._post[0] = None
        except BaseException:
            self._dismiss()
            raise

    def _call_helper(self, i: int) -> None:
        helper = self._helpers[i]
        if helper is None or not helper.is_alive():
            arguments = self._wake[i], self._post, i + 1
            helper = self._helpers[i] = threading.Thread(target=_help, args=arguments, daemon=True, name=f"epcore-{i + 1}")
            try:
                helper.start()
            except RuntimeError:  # the system gives no more threads, or the interpreter is about to end
                return
        if self._wake[i].empty():  # else it has not woken up yet and will see the job of then
            self._wake[i].put(True)

    def _dismiss(self) -> None:
        """Close the job, if there is one, and see everyone out; signal handlers may raise meanwhile, as often as they like."""
        interruption = None
        while (job := self._post[0]) is not None:
            try:
                job.close(wait=True)
                self._post[0] = None
            except BaseException as error:
                interruption = error
        if interruption is not None:
            raise interruption


def _help(wake: SimpleQueue[bool], post: list[Job | None], number: int) -> None:
    """What a helper does as long as its crew is there. It holds no crew, so that one that nobody uses any more goes."""
    while wake.get():
        job = post[0]
        if job is not None:
            job.join(number)


_all: WeakSet[Crew] = WeakSet()
_crews: dict[int, Crew] = {}


def crew(count: int) -> Crew:
    """The crew of this size, which all plans of a process share; for one thread a new one, so that such plans, which need no
    helpers, do not wait for each other."""
    return Crew(1) if count == 1 else _crews.setdefault(count, Crew(count))


def _renew_all() -> None:
    for each in list(_all):
        each._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)  # helpers do not survive a fork, and whoever held a lock is gone
