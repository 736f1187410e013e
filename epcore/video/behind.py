"""Work that is done behind the caller, in order, by a thread of its own: drawing and writing, while the network looks ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from types import TracebackType
from typing import Self

WAITING = 4  # tasks, and the frames that they hold


class Behind:
    """A thread that does what it is told, in order, while the caller goes on; at most WAITING tasks wait.

    An error of a task is raised by the next call, and no later task is done.
    """

    def __init__(self) -> None:
        self._queue: Queue[Callable[[], None] | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="epcore-draw")
        self._thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Raises what an earlier task raised."""
        self._raise()
        self._queue.put(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Wait until all is done. Raises what a task raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if self._error is None:
                try:
                    task()
                except BaseException as error:
                    self._error = error
