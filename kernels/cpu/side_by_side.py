"""Kernels compiled by several processes at once, where none of an earlier run are kept.

Numba compiles one function at a time, whatever the number of threads. So other processes compile some and keep them, and this
one compiles the rest and loads those. Where that cannot be done (one core, nowhere to keep kernels, no Python to start, a
process that dies) kernels are compiled where they are first called, as ever.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from numba import typeof, types

from epcore.base.interpreter import import_path, interpreter, package_path
from epcore.base.limits import memory_limit
from epcore.kernels.cpu.cache import is_kept, say_that_it_compiles
from epcore.kernels.cpu.cache_folders import kept_in
from epcore.threads import get_threads

# Reads where modules are, then what to call, line by line, and answers each with a line. It ends when its input does.
_PROGRAM = """\
import json, sys
from importlib import import_module
from types import ModuleType
sys.path[:], package = json.loads(sys.stdin.readline())
sys.modules["epcore"] = ModuleType("epcore")
sys.modules["epcore"].__path__ = package
for line in sys.stdin:
    module, function, *arguments = json.loads(line)
    getattr(import_module(module), function)(*arguments)
    print(flush=True)
"""


class Job(NamedTuple):
    """A kernel that may have to be compiled for these argument types.

    call: what another process does for it: a module of epcore, a function there that compiles it, and its arguments.
    """

    kernel: Any  # a Numba dispatcher with a `KernelCache`
    signature: Any
    call: tuple[str, ...]

    @classmethod
    def like(cls, kernel: Any, arguments: Sequence[object], *call: str) -> Job:
        """For a call with such arguments, that returns nothing."""
        return cls(kernel, types.none(*map(typeof, arguments)), call)


PROCESS_BYTES = 512 << 20  # resident while compiling: 280 to 450 MB
_along: list[Job] = []


def compile_along(jobs: Sequence[Job]) -> None:
    """Compile these too when something is next compiled: they will be needed later."""
    _along.extend(jobs)


def compile_side_by_side(jobs: Sequence[Job]) -> None:
    """Compile, or load, all of these, the costly ones named first; returns when each can be called."""
    wanted = [*jobs, *_along]
    _along.clear()
    missing = deque(job for job in wanted if not is_kept(job.kernel, job.signature))
    if missing:
        say_that_it_compiles()
    most = len(missing) if (memory := memory_limit()) is None else min(len(missing), memory // PROCESS_BYTES)
    helpers = min(get_threads(), most) - 1
    if helpers > 0 and kept_in() is not None and (python := interpreter()) is not None:
        _share(missing, helpers, python)
    for job in wanted:
        job.kernel.compile(job.signature)


def _share(jobs: deque[Job], helpers: int, python: str) -> None:
    """Each process takes the next job from the front, this one from the back, until none is left and all are done."""
    running: list[subprocess.Popen[bytes]] = []
    lock, ended = threading.Lock(), threading.Event()

    def take(end: Callable[[], Job]) -> Job | None:
        with lock:
            return end() if jobs and not ended.is_set() else None

    def feed(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        assert process.stdout
        with suppress(OSError):  # it died: the rest is for others
            _write(process, [import_path(), package_path()])
            while (job := take(jobs.popleft)) is not None:
                _write(process, job.call)  # one process for many: kernels share functions, which it compiles once
                if not process.stdout.readline():
                    break

    threads = []
    try:
        with suppress(OSError):  # no memory for another one
            for _ in range(helpers):
                running.append(_start(python))
        for process in running:
            threads.append(threading.Thread(target=feed, args=(process,), name="epcore compiling", daemon=True))
            threads[-1].start()
        while (job := take(jobs.pop)) is not None:
            job.kernel.compile(job.signature)
        for thread in threads:
            thread.join()
    finally:  # Ctrl-C or an error of ours, too
        ended.set()
        for process in running:
            process.kill()
        for thread in threads:
            thread.join()
        for process in running:
            with suppress(OSError), process:  # closes the pipes, of which one may be broken, and waits
                pass


def _start(python: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-I", "-S", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what it has to say this process says when it compiles the kernel itself
        start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _write(process: subprocess.Popen[bytes], line: object) -> None:
    assert process.stdin
    process.stdin.write(json.dumps(line).encode() + b"\n")
    process.stdin.flush()
