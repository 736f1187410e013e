"""Files of unknown origin are opened in a process of their own, which can die, hang or want too much without harm.

    arrays = read_guarded("epcore.port.store:plain_vectors", "vectors.h5", WEIGHTS)

The libraries that read HDF5 and MATLAB files are large and written in C: one flipped bit ends the process, or keeps it busy
for ever. The process (`guarded_child`) is started at the first file and serves further ones until it has been idle for some
seconds; where the system can fork, every file has a fork of it, so that none finds what another left in memory. Plain values
come back (`plain`), arrays through shared memory where there is some and through the pipe elsewhere, and are checked again.

Memory is bounded by RLIMIT_AS on Linux, and elsewhere, where the package psutil is installed, by looking; time by a timer in
the fork, and by a watch on this side. It is a program of its own and imports no `__main__`: scripts need no guard for it.
"""

from __future__ import annotations

import atexit
import builtins
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from epcore.base.limits import memory_limit
from epcore.base.reader_process import GoneError, ReaderProcess

_KEPT = 2  # idle processes


@dataclass(frozen=True)
class Limits:
    """What reading a file may take: memory in bytes, seconds; each has a part for every byte that the file has."""

    memory: int
    memory_a_byte: int
    seconds: float
    seconds_a_byte: float


WEIGHTS = Limits(256 << 20, 4, 8, 0.5e-6)  # its bytes, its arrays and the same on their way; 2 MB/s of a slow disk


def read_guarded(reader: str, path: str | os.PathLike[str], limits: Limits = WEIGHTS) -> Any:
    """What a reader, "module:function" of epcore, makes of a file, called in the other process with the file's name.

    Raises OSError where the file cannot be read or the process not be started; ValueError, naming the file, for all that is
    wrong with its content: what the reader says, and that it crashed, hung or wanted more than the limits.
    """
    name = os.fspath(path)
    size = os.stat(name).st_size
    memory = limits.memory + limits.memory_a_byte * size
    if (container := memory_limit()) is not None:
        memory = min(memory, container // 2)
    request = {
        "reader": reader,
        "file": name,
        "folder": _folder(),
        "memory": memory,
        "seconds": limits.seconds + limits.seconds_a_byte * size,
    }
    match _ask(request):
        case ["value", value]:
            return value
        case ["error", str(kind), int() | None as number, str(text), str() | None as file]:
            raise _error(name, kind, number, text, file)
    raise ValueError(f"{name} is damaged: the process that opened it gave no answer that could be understood")


def prepare(reader: str) -> None:
    """Start the process now, if there is none, let it import what the reader needs, and do not wait for it: what comes before a
    file is read hides both."""
    with suppress(OSError):
        process = _take()
        process.prepare(reader)
        _put(process)


def _ask(request: dict[str, Any]) -> Any:
    process = _take()
    try:
        answer = process.ask(request)
    except GoneError:  # it had been idle for too long
        process = ReaderProcess()
        try:
            answer = process.ask(request)
        except GoneError:
            raise OSError(
                f"cannot read {request['file']}: the process that was to open it ended at once "
                "(trusted=True opens it in this one)"
            ) from None
    _put(process)
    return answer


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return os.sep


def _error(name: str, kind: str, number: int | None, text: str, file: str | None) -> Exception:
    error = getattr(builtins, kind, None)
    if kind == "MemoryError":
        return ValueError(f"{name} is damaged, or too large: it could not be read in the memory that it may take")
    if isinstance(error, type) and issubclass(error, OSError):
        return OSError(number, text, file or name) if number is not None else error(text)
    if error is ValueError and name in text:
        return ValueError(text)
    if kind in ("ImportError", "ModuleNotFoundError"):
        return OSError(f"cannot read {name}: {text}")
    return ValueError(f"{name} is damaged: {text or kind}")


_lock = threading.Lock()
_idle: list[ReaderProcess] = []


def _take() -> ReaderProcess:
    """An idle process, or a new one."""
    while True:
        with _lock:
            process = _idle.pop() if _idle else None
        if process is None:
            return ReaderProcess()
        if process.alive:
            return process
        process.end()


def _put(process: ReaderProcess) -> None:
    with _lock:
        if len(_idle) < _KEPT:
            _idle.append(process)
            return
    process.end()


@atexit.register
def _end_all() -> None:
    with _lock:
        ended, _idle[:] = list(_idle), []
    for process in ended:
        process.kill()  # idle, it has nothing to lose; to end by itself it would take 60 ms
        process.end()


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    for process in _idle:
        process.forget()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
