"""The other side of `guarded`: a small process that opens files of unknown origin and answers with plain values.

It is run as a file, without site packages' start-up code and without `epcore/__init__.py`, whose networks it does not need:
it imports what its readers import, and no more. It reads lines of JSON from standard input: where modules are, then readers to
import before they are needed, and files. For each of those it forks, where the system can, and the fork, under limits on memory
and time, opens the file and writes the answer to standard output:

    1 byte      that it is about to open the file
    8 bytes     length of the text that follows, little-endian
    text        `plain.encode` of ["value", value] or ["error", class, errno, message, file name]
    arrays      their bytes, to standard output too, or to the shared memory that was named at the start

Where a fork dies, this process ends with its exit code, or with 128 and the signal that it died of.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from select import select
from types import ModuleType
from typing import Any, BinaryIO

READY = b"r"
SIGNALLED = 128
ANSWERED = 76  # a fork's exit code, which no library has
IDLE_SECONDS = 5  # without a request; then the process ends by itself


def main() -> None:
    requests, answers = _lines(sys.stdin.fileno()), sys.stdout.buffer
    start = next(requests)
    sys.path[:] = start["path"]
    package = ModuleType("epcore")
    package.__path__ = start["package"]
    sys.modules["epcore"] = package
    for request in requests:
        if "prepare" in request:
            with suppress(Exception):  # said when a file is to be read
                _reader(request["prepare"])
            continue
        try:
            reader = _reader(request["reader"])  # before the fork: the next file finds it imported
        except Exception as error:
            answers.write(READY)
            _send(answers, None, _description(error))
            continue
        answers.write(READY)
        answers.flush()
        if not hasattr(os, "fork"):
            _answer(request, reader, answers, start["shared"])
            continue
        if (fork := os.fork()) == 0:
            with suppress(BaseException):
                _answer(request, reader, answers, start["shared"])
                os._exit(ANSWERED)
            os._exit(1)
        if (status := os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])) != ANSWERED:
            os._exit(SIGNALLED - status if status < 0 else status)


def _reader(name: str) -> Callable[[str], object]:
    module, _, function = name.partition(":")
    reader: Callable[[str], object] = getattr(import_module(module), function)
    return reader


def _lines(requests: int) -> Iterator[dict[str, Any]]:
    """Objects of the lines, until the other side is gone or has had no request for a while."""
    left = b""
    while True:
        line, end, after = left.partition(b"\n")
        if end:
            left = after
            yield json.loads(line)
            continue
        if os.name == "posix" and not select([requests], [], [], IDLE_SECONDS)[0]:
            return
        if not (more := os.read(requests, 1 << 16)):
            return
        left += more


def _answer(request: dict[str, Any], reader: Callable[[str], object], answers: BinaryIO, shared: int | None) -> None:
    try:
        with suppress(OSError):  # a folder that is gone; names from the root are found without it
            os.chdir(request["folder"])
        _limit(request["memory"], request["seconds"])
        answer = ["value", reader(request["file"])]
    except BaseException as error:
        answer = _description(error)
    try:
        _send(answers, shared, answer)
    except (TypeError, ValueError, RecursionError, MemoryError, OSError) as error:  # before anything was sent
        _send(answers, None, _description(error))


def _description(error: BaseException) -> list[object]:
    number, file = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ["error", type(error).__name__, number, text[:2000], file if isinstance(file, str) else None]


def _send(answers: BinaryIO, shared: int | None, answer: list[object]) -> None:
    from epcore.base.plain import encode

    text, arrays = encode(answer)
    if shared is not None:
        os.lseek(shared, 0, os.SEEK_SET)
        for array in arrays:
            _write_all(shared, array)
    answers.write(len(text).to_bytes(8, "little"))
    answers.write(text)
    if shared is None:
        for array in arrays:
            answers.write(array.tobytes())
    answers.flush()


def _write_all(file: int, array: Any) -> None:
    left = memoryview(array.tobytes())
    while left:
        left = left[os.write(file, left) :]


def _limit(memory: int, seconds: float) -> None:
    """Of this process from now on, where it serves this file only."""
    from epcore.base.child import bound

    if not hasattr(os, "fork"):
        return
    import resource

    with suppress(OSError, ValueError):  # shared memory is a file for the system; the limit is meant for what commands write
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    bound(memory, seconds)


if __name__ == "__main__":
    main()
