"""Processes that do what may go wrong: the bounds that they set themselves."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

# No threads: for as many as there are cores OpenBLAS reserves memory.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def bound(memory: int, seconds: float) -> None:
    """Bounds of this process from now on: bytes of address space beyond what it has, seconds, no core files.

    What the system does not offer is left out: whoever started the process watches as well.
    """
    if not hasattr(os, "fork"):
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError), open("/proc/self/statm", encoding="ascii") as file:
        limit = int(file.read().split()[0]) * resource.getpagesize() + memory
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process wherever it is, in C code too
    signal.setitimer(signal.ITIMER_REAL, seconds)
