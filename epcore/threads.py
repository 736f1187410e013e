"""How many threads epcore computes with, in one place: plans, Numba kernels, and NumPy's BLAS where it can be told.

The count is EPCORE_THREADS if set, else the cores this process may use; `set_threads` changes it at any time. Plans made
before keep theirs.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

_chosen: int | None = None


def get_threads() -> int:
    """Threads to compute with. Raises ValueError where EPCORE_THREADS is not a whole number above 0."""
    if _chosen is not None:
        return _chosen
    wanted = os.environ.get("EPCORE_THREADS")
    if wanted is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"EPCORE_THREADS is {wanted!r}, expected a whole number above 0")
    return int(wanted)


def set_threads(count: int | None) -> None:
    """Compute with `count` threads from now on, in every Python thread; None: as many as before any call. Raises ValueError for
    anything but None and a whole number above 0.

    Calls in progress in other Python threads keep their number, as plans do. Numba cannot use more threads than it was started
    with (the cores, or NUMBA_NUM_THREADS). NumPy's BLAS, which only the reference backend uses, follows where the package
    threadpoolctl is installed.
    """
    global _chosen, _change
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"threads is {count!r}, expected a whole number above 0")
    _chosen = count
    _change = object()  # after the number it stands for
    if find_spec("threadpoolctl"):
        from threadpoolctl import threadpool_limits

        threadpool_limits(get_threads(), user_api="blas")


_change = object()


def last_change() -> object:
    """Another object after every `set_threads`: whoever keeps a number of threads compares it by `is`."""
    return _change


def limit_numba() -> None:
    """Make Numba's parallel loops use `get_threads()` threads, or as many as it has, where the calling Python thread runs them:
    the number is each Python thread's own."""
    import numba

    numba.set_num_threads(min(get_threads(), int(numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]
