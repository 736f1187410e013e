"""Launching the kernels whose loops run on Numba's threads, from any Python thread and any process.

Numba's threads belong to a threading layer ("tbb", "omp" or "workqueue"), and each layer has something it cannot do:

* GNU OpenMP (`omp`) ends a process that was forked after its threads were started. There a second version of each kernel runs,
  compiled for the calling thread only: loops of kernels are cut by shape and never by threads, so the bits are the same.
* `workqueue` ends a process where two Python threads launch at once. There launches wait for each other.
* In all of them the number of threads is the calling Python thread's own; it is set here wherever `set_threads` changed it.

A fork waits until no other thread is compiling, loading or (workqueue) running a kernel: what they hold would stay held in the
child, by threads that do not exist there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock

from epcore.threads import last_change, limit_numba

FORK_SAFE = ("tbb", "workqueue")  # layers whose threads are started again in a forked child

_alone = False  # whether this process was forked from one whose layer cannot be used after a fork
_one_at_a_time: Any = None  # a lock that every launch takes, with workqueue
_thread = threading.local()  # .change: the change of the number of threads that Numba was last told of in this thread


class ParallelKernel:
    """A function compiled with its `prange` loops on Numba's threads, and where these cannot be had on the calling one.

    compile(function, parallel=...) gives the dispatcher. Both versions keep their machine code in files of their own: the
    second's have `_alone` in their names.
    """

    def __init__(self, function: Callable[..., Any], compile: Callable[..., Any]) -> None:
        assert isinstance(function, FunctionType)
        self._function, self._compile = function, compile
        self.__doc__ = function.__doc__
        self.parallel = compile(function, parallel=True)
        self._single: Any = None

    @property
    def stats(self) -> Any:
        """Hits and misses of the cache, as Numba counts them, of the parallel version."""
        return self.parallel.stats

    @property
    def single(self) -> Any:
        """The version for one thread."""
        if self._single is None:
            f = self._function
            twin = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
            twin.__qualname__ = f"{f.__qualname__}_alone"
            self._single = self._compile(twin, parallel=False)
        return self._single

    def __call__(self, *arguments: Any) -> Any:
        if _alone:
            return self.single(*arguments)
        if getattr(_thread, "change", None) is not last_change():
            _prepare_thread()
        if _one_at_a_time is None:
            return self.parallel(*arguments)
        with _one_at_a_time:
            return self.parallel(*arguments)

    def __repr__(self) -> str:
        return f"<kernel {self._function.__module__}.{self._function.__qualname__}>"


def layer() -> str | None:
    """The threading layer of this process; None as long as nothing has started it."""
    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def _prepare_thread() -> None:
    """Give the calling thread its number of Numba threads; the first one in a process starts the layer."""
    global _one_at_a_time
    change = last_change()  # read before the number it stands for
    with global_compiler_lock:  # as everything that starts the layer: see _before_fork
        limit_numba()
        if _one_at_a_time is None and layer() == "workqueue":
            _one_at_a_time = threading.RLock()
    _thread.change = change


_held: list[Any] = []  # by the fork in progress


def _before_fork() -> None:
    for lock in (_one_at_a_time, global_compiler_lock):  # in this order: a launch may have to compile
        if lock is not None:
            lock.acquire()
            _held.append(lock)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    global _alone
    _after_fork()
    _alone = layer() not in (None, *FORK_SAFE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
