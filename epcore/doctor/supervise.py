"""Worker processes, from outside: tasks go to whoever is free, one that dies or does not answer is replaced.

Several work at a time, because what takes long is compiling, and that is done by one core a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from epcore.threads import default_threads

IDLE = 60.0  # seconds
Task = tuple[str, ...]  # kind and details, as `epcore.doctor.worker.answer` takes them
Answer = dict[str, Any]

# The parent's path, so that the child takes the same epcore however that was found.
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from epcore.doctor.worker import main; main()"


class Worker:
    """One process at a time; `ask` starts it where there is none. Close it in the end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._closed = False

    def ask(self, task: Task, limit: float) -> Answer:
        """The worker's answer. ok is False, and value says so, where it dies or hangs.

        limit: seconds of processor time, which a busy machine gives slowly; the same of waiting where nobody tells how much it
        got. A process that gets none for `limit` seconds, or for IDLE, waits for something that will not come.
        """
        process = self._start()
        assert process.stdin
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = self._wait(process.pid, limit)
        except queue.Empty:
            self.stop()
            return {"ok": False, "value": f"no answer (limit {limit:g} s): it hangs, or needs more time", "seconds": None}
        except OSError:
            line = None  # it had gone before it was asked
        if line is None:
            return {"ok": False, "value": self._last_words(process), "seconds": None}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _wait(self, pid: int, limit: float) -> str | None:
        """The next line, None for the end. Raises queue.Empty beyond the limit."""
        begun, first = monotonic(), processor_seconds(pid)
        since, used = begun, first
        while True:
            try:
                return self._lines.get(timeout=min(1.0, limit))
            except queue.Empty:
                now, spent = monotonic(), processor_seconds(pid)
                if first is None or used is None or spent is None:
                    if now - begun >= limit:
                        raise
                elif spent - first >= limit:
                    raise
                elif (window := now - since) >= min(limit, IDLE):
                    if spent - used < 0.02 * window:
                        raise
                    since, used = now, spent

    def stop(self) -> None:
        """End the process, whatever it does; the next `ask` starts another."""
        if self._process is not None:
            self._process.kill()
            self._end(self._process)

    def close(self) -> None:
        self._closed = True
        self.stop()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            if self._closed:
                raise RuntimeError("the doctor was interrupted")
            self._lines = queue.Queue()
            self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
            command = [sys.executable, "-c", START, json.dumps(sys.path)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, encoding="utf-8"
            )
            threading.Thread(target=_read, args=(self._process, self._lines), daemon=True).start()
        return self._process

    def _last_words(self, process: subprocess.Popen[str]) -> str:
        """How it ended, and the last line that it wrote to standard error."""
        process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        code = self._end(process)
        said = f": {lines[-1]}" if lines else ""
        if code >= 0:
            return f"the process ended with exit code {code}{said}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"the process was ended by {name}{said}"

    def _end(self, process: subprocess.Popen[str]) -> int:
        code = process.wait()
        with contextlib.suppress(OSError):  # a pipe whose other end has gone
            assert process.stdin
            process.stdin.close()
        self._errors.close()
        self._process = None
        return code


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def processor_seconds(pid: int) -> float | None:
    """Processor time that a process has had, all its threads together; None where the system does not say (but Linux does)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


class Pool:
    """Some workers. A context manager: leaving it ends every process."""

    def __init__(self, size: int, limit: float) -> None:
        self.limit = limit
        self._workers = [Worker() for _ in range(size)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()

    def ask(self, task: Task) -> Answer:
        """One task, while nothing else runs."""
        return self._workers[0].ask(task, self.limit)

    def run(self, jobs: Sequence[Sequence[Task]], patience: float) -> Iterator[tuple[Task, Answer] | None]:
        """Every task and its answer as they come, and None after each `patience` seconds without one.

        A job is tasks that one worker does in turn; jobs are begun in their order.
        """
        waiting, done = deque(jobs), queue.Queue[tuple[Task, Answer]]()

        def work(worker: Worker) -> None:
            while True:
                try:
                    job = waiting.popleft()
                except IndexError:
                    return
                for task in job:
                    try:
                        done.put((task, worker.ask(task, self.limit)))
                    except Exception as error:  # no process could be started; or this one is being closed
                        done.put((task, {"ok": False, "value": f"{type(error).__name__}: {error}", "seconds": None}))

        for worker in self._workers:
            threading.Thread(target=work, args=(worker,), daemon=True).start()
        left = sum(map(len, jobs))
        while left:
            try:
                yield done.get(timeout=patience)
                left -= 1
            except queue.Empty:
                yield None


def processes() -> int:
    """How many workers: one for each core that this process gets, as far as they help."""
    return min(default_threads(), 4)
