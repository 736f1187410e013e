"""A student's file runs in a process of its own, under limits of time and memory; what its functions return comes back.

    answers = run_calls("swish_exercise.py", [Call("backward", (dy, saved))]).answers

The process (`sandbox_child`) is a program of its own that gets the arguments and never what they should give: whether an answer
is right is found out on this side, by comparing values. How the process ends says nothing, and an answer that did not come is a
failure. It imports nothing of epcore but `TOOLS`. This keeps mistakes apart, not malice: the code runs with the user's rights.

Memory is bounded by RLIMIT_AS, on Linux; time by the process itself and, where that does not end, by a watch on this side.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from epcore.base.child import ONE_THREAD
from epcore.base.interpreter import import_path, interpreter, package_path
from epcore.base.plain import decode, encode
from epcore.exercise.values import pack, unpack

TOOLS = ("epcore.base.arrays", "epcore.op", "epcore.shapes", "epcore.sums")  # shapes and sums: they hold no operator
_PROGRAM = Path(__file__).with_name("sandbox_child.py")
_GRACE = 5.0  # seconds beyond its own for the process to start, and to stop by itself
_PRINTED = 1 << 16  # bytes of what the code prints that are kept


@dataclass(frozen=True)
class Limits:
    """Of the process: seconds for the file and for each call, bytes of memory beyond what Python with NumPy takes."""

    seconds: float = 10.0
    memory: int = 1 << 30


LIMITS = Limits()


@dataclass(frozen=True)
class Call:
    """function: its name in the file. Arguments: arrays of numbers, plain values, and tuples, lists and mappings of those."""

    function: str
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why there is no value.

    kind: "unwritten" (NotImplementedError), "missing" (no such function), "exception", "exit" (SystemExit), "memory", "time",
        "died" (the process ended before it answered).
    text: one sentence without its full stop, with the line where that is known. line: of the student's file, None where it is
        not known.
    """

    kind: str
    text: str
    line: int | None = None


@dataclass(frozen=True)
class Answer:
    """Of one call: its value (`epcore.exercise.values.Unknown` stands for what cannot travel), or why there is none; and the
    call's arguments as they were after it, to see whether it changed them (those before it where it did not come back)."""

    value: Any = None
    failure: Failure | None = None
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Run:
    """answers: one for each call, in order. failure: why the file itself does not run; then all answers have it. printed: what
    the code wrote to standard output and error, its first 64 KiB."""

    answers: tuple[Answer, ...]
    failure: Failure | None = None
    printed: str = ""


def run_calls(
    file: str | os.PathLike[str],
    calls: Sequence[Call],
    *,
    limits: Limits = LIMITS,
    tools: Sequence[str] = TOOLS,
    driver: str | None = None,
) -> Run:
    """Run a student's file once, and call its functions one after another in that process; one that fails stops no other, but
    one that takes too long or ends the process does.

    tools: modules of epcore that the file may import. driver: "module:function" of epcore that is called in the process instead
    of the student's function, as driver(module of the student's file, function's name, *arguments, **keywords), for what needs
    objects that cannot travel. Raises OSError where the file cannot be read or the process not be started.
    """
    name = os.fspath(file)
    with open(name, "rb"):
        pass
    start = {
        "path": import_path(),
        "package": package_path(),
        "file": name,
        "seconds": limits.seconds,
        "memory": limits.memory,
        "tools": list(tools),
        "driver": driver,
    }
    request = encode(pack([(call.function, call.arguments, dict(call.keywords)) for call in calls]))
    process = _Process(limits)
    found = list(process.run(start, *request, count=len(calls) + 1))
    return _understood(found, calls, process, name)


def _understood(found: list[Any], calls: Sequence[Call], process: _Process, file: str) -> Run:
    """found: what came from the process: an answer for the file, and one for each call that it lived to answer."""
    printed, where = _split(process.printed.decode("utf-8", "backslashreplace"), file)
    end = None if len(found) == len(calls) + 1 else _end(process, where, file)
    if not found or "failure" in found[0]:
        failure = _failure(found[0]["failure"]) if found else end
        return Run(tuple(Answer(failure=failure, arguments=call.arguments) for call in calls), failure, printed)
    answers = []
    for i, call in enumerate(calls, 1):
        if i >= len(found):
            answers.append(Answer(failure=end, arguments=call.arguments))
        elif "failure" in found[i]:
            answers.append(Answer(failure=_failure(found[i]["failure"]), arguments=tuple(found[i]["arguments"])))
        else:
            answers.append(Answer(found[i].get("value"), arguments=tuple(found[i]["arguments"])))
    return Run(tuple(answers), None, printed)


def _failure(found: Mapping[str, Any]) -> Failure:
    kind, text, line = found["class"], " ".join(str(found["text"]).split()), found["line"]
    where = f", line {line}" + (f": {found['source']}" if found["source"] else "") if line else ""
    classes = found["classes"]
    if "NotImplementedError" in classes:
        return Failure("unwritten", f"{found['function'] or 'it'} is still to be written{where}", line)
    if "SystemExit" in classes:
        return Failure("exit", f"it asked Python to exit, so that nothing could be checked{where}", line)
    if "MemoryError" in classes:
        return Failure("memory", f"it wanted more memory than it may have{f' ({text})' if text else ''}{where}", line)
    if kind == "LookupError" and line is None:
        return Failure("missing", text)
    return Failure("exception", f"it stopped with {kind}{f': {text}' if text else ''}{where}", line)


def _end(process: _Process, where: int | None, file: str) -> Failure:
    """Of a process that did not answer everything."""
    seconds = process.limits.seconds
    if process.late or where is not None:
        source = _source_line(file, where) if where else ""
        place = f" in line {where}" + (f": {source}" if source else "") if where else ""
        return Failure("time", f"it was not done after {seconds:g} s and was stopped{place}", where or None)
    code = process.code
    with suppress(ValueError):
        return Failure("died", f"it ended the process, by {signal.Signals(-code).name}, before it answered")
    return Failure("died", f"it ended the process, with exit code {code}, before it answered")


_STOPPED = re.compile(r"^Timeout \(\d+:\d+:[\d.]+\)!$", re.MULTILINE)


def _split(text: str, file: str) -> tuple[str, int | None]:
    """What was printed, and the line of the file in which it was stopped for its time; 0 where that is unknown, None where it
    was not stopped."""
    if (stopped := _STOPPED.search(text)) is None:
        return text, None
    name = re.escape(file.encode("ascii", "backslashreplace").decode())
    line = re.search(rf'^  File "{name}", line (\d+) in ', text[stopped.end() :], re.MULTILINE)
    return text[: stopped.start()], int(line[1]) if line else 0


def _source_line(file: str, line: int) -> str:
    with suppress(OSError):
        lines = Path(file).read_bytes().decode("utf-8", "replace").splitlines()
        return lines[line - 1].strip()[:200] if line <= len(lines) else ""
    return ""


class _Process:
    """One process, from its start to its end. printed: what it wrote to standard error. late: whether it had to be ended."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.printed = bytearray()
        self.late = False
        self.code = 0

    def run(self, start: Mapping[str, Any], text: bytes, arrays: list[np.ndarray], *, count: int) -> Iterator[Any]:
        """What it answers, up to `count` times: fewer where it did not live to, or wrote what cannot be understood."""
        if (python := interpreter()) is None:
            raise OSError("there is no Python to start, in which a student's file could run")
        with subprocess.Popen(
            [python, "-I", "-S", "-B", "-X", "utf8", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        ) as process:
            assert process.stdin and process.stdout and process.stderr
            printer = threading.Thread(target=self._print, args=(process.stderr,), daemon=True)
            printer.start()
            try:
                with suppress(BrokenPipeError), process.stdin as requests:
                    requests.write(json.dumps(start).encode() + b"\n" + len(text).to_bytes(8, "little") + text)
                    for array in arrays:
                        requests.write(array.tobytes())
                for _ in range(count):
                    watch = threading.Timer(self.limits.seconds + _GRACE, self._stop, (process,))
                    watch.start()
                    try:
                        answer = self._answer(process.stdout)
                    finally:
                        watch.cancel()
                    if answer is None:
                        with suppress(subprocess.TimeoutExpired):  # for its own exit code, not that of being ended
                            process.wait(1)
                        break
                    yield answer
                    if "failure" in answer and "arguments" not in answer:
                        break
            finally:
                _kill(process)
                printer.join()
            self.code = process.wait()

    def _answer(self, answers: IO[bytes]) -> dict[str, Any] | None:
        def read(count: int) -> bytes:
            content = answers.read(count)
            if len(content) < count:
                raise EOFError
            return content

        def fill(buffer: memoryview) -> None:
            buffer[:] = read(len(buffer))

        try:
            length = int.from_bytes(read(8), "little")
            if length > self.limits.memory:
                return None
            answer = unpack(decode(read(length), self.limits.memory, fill))
        except (EOFError, ValueError, MemoryError):
            return None
        return answer if isinstance(answer, dict) else None

    def _print(self, errors: IO[bytes]) -> None:
        """What comes last is kept as well: where the process says that it was too slow."""
        end = b""
        while content := os.read(errors.fileno(), 1 << 16):
            room = _PRINTED - len(self.printed)
            self.printed += content[: max(room, 0)]
            end = (end + content[max(room, 0) :])[-4096:]
        self.printed += end

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        self.late = True
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """It and what it started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
