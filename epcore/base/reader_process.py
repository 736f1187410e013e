"""The process that `guarded` has files read in, seen from this side: start it, ask it, end it, say what became of it.

The other side is `guarded_child`, which says what goes through the pipes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from time import monotonic
from typing import Any

from epcore.base.child import ONE_THREAD
from epcore.base.interpreter import import_path, interpreter, package_path
from epcore.base.plain import decode

_PROGRAM = Path(__file__).with_name("guarded_child.py")
_SIGNALLED = 128  # as in guarded_child
_LOOK = 0.02  # seconds between looks at the process' memory
_GRACE = 2.0  # seconds that the watch gives the fork's own timer
# No plugins of HDF5, which files ask for by number.
_ENVIRONMENT = {**ONE_THREAD, "HDF5_PLUGIN_PRELOAD": "::"}


class GoneError(Exception):
    """The process ended before it began with the file: it had been idle for too long, or cannot run."""


class ReaderProcess:
    """The process, the pipes to and from it, and the memory that both see (None where there is no such)."""

    def __init__(self) -> None:
        """Raises OSError where it cannot be started."""
        if (python := interpreter()) is None:
            raise OSError("there is no Python to start, in which files are opened (trusted=True opens them in this process)")
        self._shared: int | None = os.memfd_create("epcore") if hasattr(os, "memfd_create") else None
        command = [python, "-I", "-S", "-B", *(["-X", "utf8"] if sys.flags.utf8_mode else []), str(_PROGRAM)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what libraries say before they abort
                env={**os.environ, **_ENVIRONMENT},
                pass_fds=() if self._shared is None else (self._shared,),
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            if self._shared is not None:
                os.close(self._shared)
            raise OSError(
                f"cannot start {command[0]}, in which files are opened (trusted=True opens them here): {error}"
            ) from None
        assert self._process.stdin
        assert isinstance(self._process.stdout, BufferedReader)
        self._requests, self._answers = self._process.stdin, self._process.stdout
        start = {"path": import_path(), "package": package_path(), "shared": self._shared}
        with suppress(BrokenPipeError):  # noticed when it is asked
            self._write(start)

    def prepare(self, reader: str) -> None:
        """Let it import what this reader needs; returns at once."""
        with suppress(BrokenPipeError):
            self._write({"prepare": reader})

    def ask(self, request: dict[str, Any]) -> Any:
        """Its answer; afterwards it can be asked again. Raises ValueError, and has ended it, where it did not live to give one;
        GoneError where it ended before."""
        done, cause = threading.Event(), [""]
        try:
            self._begin(request)
            watch = threading.Thread(target=self._watch, args=(done, cause, request["seconds"], request["memory"]), daemon=True)
            watch.start()
            try:
                length = int.from_bytes(self._read(8), "little")
                if length > request["memory"]:
                    raise ValueError(f"{request['file']} is damaged: what it holds could not be handed on")
                answer = self._decode(request["file"], self._read(length), request["memory"])
            except EOFError:
                done.set()
                self.end()
                raise ValueError(_what_happened(request, cause[0], self._process.returncode)) from None
        except BaseException:  # Ctrl-C too: half an answer may be on its way
            done.set()
            self.kill()
            self.end()
            raise
        done.set()
        watch.join()
        return answer

    def _begin(self, request: dict[str, Any]) -> None:
        """Returns when it is ready to open the file."""
        try:
            self._write(request)
            self._read(1)
        except (BrokenPipeError, EOFError):
            raise GoneError from None

    def _decode(self, name: str, text: bytes, memory: int) -> Any:
        place = 0

        def fill(buffer: memoryview) -> None:
            nonlocal place
            if self._shared is None:
                self._fill(buffer)
                return
            while buffer:
                count = os.preadv(self._shared, [buffer], place)
                if not count:
                    raise EOFError
                buffer, place = buffer[count:], place + count

        # Errors are sent without arrays, so that these are where values have them.
        try:
            answer = decode(text, memory, fill)
        except (ValueError, MemoryError) as error:
            raise ValueError(f"{name} is damaged: {error}") from None
        if self._shared is not None:
            os.ftruncate(self._shared, 0)
        return answer

    def _write(self, message: dict[str, Any]) -> None:
        self._requests.write(json.dumps(message).encode() + b"\n")
        self._requests.flush()

    def _read(self, count: int) -> bytes:
        content = self._answers.read(count)
        if len(content) < count:
            raise EOFError
        return content

    def _fill(self, buffer: memoryview) -> None:
        while buffer:
            count = self._answers.readinto(buffer)
            if not count:
                raise EOFError
            buffer = buffer[count:]

    def _watch(self, done: threading.Event, cause: list[str], seconds: float, memory: int) -> None:
        """End it when its time is over, and where nothing else bounds its memory, when it has too much."""
        end = monotonic() + seconds + (_GRACE if hasattr(os, "fork") else 0)
        usage = None if sys.platform == "linux" else _usage_of(self._process.pid)
        before = usage() if usage else 0
        while not done.wait(_LOOK if usage else max(0.0, end - monotonic())):
            if usage and usage() > before + memory:
                cause[0] = "memory"
            elif monotonic() >= end:
                cause[0] = "time"
            else:
                continue
            self.kill()
            return

    def kill(self) -> None:
        """It and its fork, if it is not known to have ended."""
        if self._process.returncode is not None:
            return
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Let it go: it ends when its input does, and is ended where it does not. Again does nothing."""
        with suppress(OSError):
            self._requests.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._close()

    def forget(self) -> None:
        """In a fork of the process that started it: it is somebody else's."""
        self._process.returncode = 0
        with suppress(OSError):
            self._requests.close()
        self._close()

    def _close(self) -> None:
        self._answers.close()
        if self._shared is not None:
            os.close(self._shared)
            self._shared = None


def _usage_of(pid: int) -> Callable[[], int] | None:
    """A function that gives the bytes that a process, or its fork, has in memory; None without psutil."""
    try:
        import psutil
    except ModuleNotFoundError:
        return None

    def usage() -> int:
        try:
            process = psutil.Process(pid)
            return max(int(each.memory_info().rss) for each in (process, *process.children()))
        except psutil.Error:
            return 0

    return usage


def _what_happened(request: dict[str, Any], cause: str, code: int) -> str:
    name, seconds, memory = request["file"], request["seconds"], request["memory"]
    number = code - _SIGNALLED if code > _SIGNALLED else -code if code < 0 else 0
    if cause == "time" or (not cause and number == getattr(signal, "SIGALRM", None)):
        return f"{name} is damaged, or made to harm: it was not read within {seconds:.0f} s, and given up"
    if cause == "memory":
        return f"{name} is damaged, or too large: it could not be read in {memory >> 20} MiB"
    try:
        what = f"by {signal.Signals(number).name}" if number else f"with exit code {code}"
    except ValueError:
        what = f"by signal {number}"
    return f"{name} is damaged, or made to harm: reading it ended the process that was to read it, {what}"
