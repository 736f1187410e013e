"""How many threads epcore computes with, in one place: plans, Numba kernels, and NumPy's BLAS where it can be told.

The count is EPCORE_THREADS if set, else what `default_threads` finds; `set_threads` changes it at any time. Plans made before
keep theirs.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from epcore.base.checks import check_whole
from epcore.base.limits import cpu_quota, memory_limit, usable_cores

MOST = max(256, os.cpu_count() or 1)  # more than these are a slip: threads wait for each other, and each takes memory
THREAD_BYTES = 1 << 20  # what a further thread of a plan takes: rings 0.8 MiB, its stack's used part 0.1
THREADS_SHARE = 1 / 8  # of the memory that a container has, for threads

_chosen: int | None = None
_default: int | None = None
_read: tuple[object, int] | None = None  # EPCORE_THREADS as it was read last, and what it meant

# os.environ.get takes half a microsecond, much of it to encode the name and to raise KeyError inside.
_environment = getattr(os.environ, "_data", None)
_name = os.environ.encodekey("EPCORE_THREADS")


def get_threads() -> int:
    """Threads to compute with. Raises ValueError where EPCORE_THREADS is not a whole number from 1 to MOST."""
    global _default, _read
    if _chosen is not None:
        return _chosen
    wanted = _environment.get(_name) if _environment is not None else os.environ.get("EPCORE_THREADS")
    if wanted is None:
        if _default is None:
            _default = default_threads()
        return _default
    if _read is None or _read[0] != wanted:
        text = os.environ["EPCORE_THREADS"]
        _read = (
            wanted,
            check_threads(int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text, "EPCORE_THREADS"),
        )
    return _read[1]


def default_threads() -> int:
    """The cores this process may use, no more than its CPU quota (rounded up) and than its memory allows; at least 1.

    Quota and memory are those of control groups (`base.limits`): a container of 1.5 CPUs on a host of 64 cores gets 2. All
    threads together may take THREADS_SHARE of the memory limit, at THREAD_BYTES each: 32 threads of 256 MiB, the least that
    `epcore predict` should have, so this binds on hosts of many cores only. Found once a process, and again after a fork.
    """
    threads, quota, memory = usable_cores(), cpu_quota(), memory_limit()
    if quota is not None:
        threads = min(threads, math.ceil(quota))
    if memory is not None:
        threads = min(threads, int(memory * THREADS_SHARE) // THREAD_BYTES)
    return max(1, min(threads, MOST))


def check_threads(count: object, name: str) -> int:
    """The count, if it is a whole number from 1 to MOST. Raises ValueError, with the name, for anything else."""
    return check_whole(count, name, 1, MOST)


def set_threads(count: int | None) -> None:
    """Compute with `count` threads from now on, in every Python thread; None: as many as before any call. Raises ValueError for
    anything but None and a whole number from 1 to MOST.

    Calls in progress in other Python threads keep their number, as plans do. Numba cannot use more threads than it was started
    with (the cores, or NUMBA_NUM_THREADS). NumPy's BLAS, which only the reference backend uses, follows where the package
    threadpoolctl is installed.
    """
    global _chosen, _change
    _chosen = None if count is None else check_threads(count, "threads")
    _change = object()  # after the number it stands for
    if find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_limits

        threadpool_limits(get_threads(), user_api="blas")


@contextmanager
def threads_within(count: int) -> Iterator[None]:
    """`set_threads` for the block; afterwards the number is what it was, EPCORE_THREADS' if nobody had chosen one."""
    before = _chosen
    set_threads(count)
    try:
        yield
    finally:
        set_threads(before)


_change = object()


def last_change() -> object:
    """Another object after every `set_threads`: whoever keeps a number of threads compares it by `is`."""
    return _change


def limit_numba() -> None:
    """Make Numba's parallel loops use `get_threads()` threads, or as many as it has, where the calling Python thread runs them:
    the number is each Python thread's own."""
    import numba

    with warnings.catch_warnings():
        # Without a writable /dev/shm Numba has no lock for processes that fork while threads start; epcore needs none.
        warnings.filterwarnings("ignore", "Could not obtain multiprocessing lock")
        numba.set_num_threads(min(get_threads(), int(numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]


def _forget() -> None:
    global _default
    _default = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
