"""Processes that call one function with one argument after another, results in order.

Started afresh ("spawn"), so they share neither threads nor locks with the parent and work beside CUDA and MPI. They end with
the parent, however that ends: then their pipe closes. As always with `multiprocessing`, a script that uses them needs
`if __name__ == "__main__":` around what it runs.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from epcore.base.notices import as_lines
from epcore.kernels.cpu.cache_folders import settle

AHEAD = 2  # tasks a process has at a time: one at work, one waiting


class Workers:
    """count processes that run function(argument); function, arguments and results must pickle."""

    def __init__(self, function: Callable[[Any], Any], count: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}, expected at least one process")
        settle(say=True)  # the processes share what they compile, and one of them says where it cannot be kept
        context = multiprocessing.get_context("spawn")
        self._processes, self._pipes = [], []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), name=f"loader-{number}", daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        for number in range(count):  # all start up at the same time
            self._send(number, function)

    def map(self, arguments: Iterable[Any]) -> Generator[Any, None, None]:
        """Results in the order of the arguments, computed a little ahead of need.

        An exception of the function is raised here. Raises RuntimeError where a process died. One map at a time.
        """
        waiting: deque[int] = deque()
        remaining = enumerate(arguments)

        def feed() -> None:
            for index, argument in remaining:
                number = index % len(self._pipes)
                self._send(number, argument)
                waiting.append(number)
                return

        try:
            for _ in range(AHEAD * len(self._pipes)):
                feed()
            while waiting:
                result, error = self._receive(waiting.popleft())
                if error is not None:
                    raise error
                feed()
                yield result
        finally:
            while waiting:  # whoever stopped early leaves tasks behind
                try:
                    self._receive(waiting.popleft())
                except RuntimeError:
                    break

    def _send(self, number: int, value: Any) -> None:
        try:
            self._pipes[number].send(value)
        except OSError:
            raise self._death(number) from None

    def _receive(self, number: int) -> tuple[Any, Exception | None]:
        try:
            answer: tuple[Any, Exception | None] = self._pipes[number].recv()
        except (EOFError, OSError):
            raise self._death(number) from None
        return answer

    def _death(self, number: int) -> RuntimeError:
        process = self._processes[number]
        process.join(timeout=5)
        return RuntimeError(f"{process.name} ended unexpectedly (exit code {process.exitcode}): killed, or out of memory")

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
        self._pipes, self._processes = [], []


def _serve(pipe: Connection) -> None:
    """What a process does until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    with as_lines(), suppress(EOFError, OSError):
        function = pipe.recv()
        while True:
            argument = pipe.recv()
            try:
                answer: tuple[Any, Exception | None] = function(argument), None
            except Exception as error:
                answer = None, error
            pipe.send(answer)
