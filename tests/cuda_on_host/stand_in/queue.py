"""Streams that run work at once or, while they capture, record it; events; graphs. All work is done in the program's order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""


class _Segment(Protocol):
    alive: bool


@dataclass(frozen=True)
class Work:
    """name: the kernel, array function or copy. segments: of memory that it touches."""

    name: str
    run: Callable[[], None]
    segments: Sequence[_Segment]

    def __call__(self) -> None:
        if not all(segment.alive for segment in self.segments):
            raise CUDARuntimeError(f"{self.name} touches memory that was given back to the device")
        self.run()


@dataclass
class Counts:
    """What the host did since the last `clear`. launches: by name; graphs: launched; reads: copies to the host that wait."""

    launches: dict[str, int] = field(default_factory=dict)
    graphs: int = 0
    reads: int = 0
    uploads: int = 0

    def launch(self, name: str) -> None:
        self.launches[name] = self.launches.get(name, 0) + 1

    def clear(self) -> None:
        self.launches, self.graphs, self.reads, self.uploads = {}, 0, 0, 0


counts = Counts()
FREE = "free"  # of memory: no launch


class Graph:
    """What a stream recorded."""

    def __init__(self, work: Sequence[Work]) -> None:
        self.work = tuple(work)

    def launch(self, stream: Stream | None = None) -> None:
        refuse_while_capturing("a graph's launch")
        counts.graphs += 1
        for work in self.work:
            work()

    @property
    def names(self) -> list[str]:
        """Of kernels, array functions and copies, in their order."""
        return [work.name for work in self.work if work.name != FREE]


class Event:
    def __init__(self, *_: Any, **__: Any) -> None:
        self.seconds: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        refuse_while_capturing("synchronising with an event")

    @property
    def done(self) -> bool:
        return True


def get_elapsed_time(start: Event, end: Event) -> float:
    """Milliseconds. Raises CUDARuntimeError for events that were not recorded."""
    if start.seconds is None or end.seconds is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event was not recorded")
    return max((end.seconds - start.seconds) * 1e3, 1e-3)


class Stream:
    """`cupy.cuda.Stream`. A failure while it captures spoils the capture, as on a device: `end_capture` raises then."""

    def __init__(self, null: bool = False, non_blocking: bool = False, **_: Any) -> None:
        self.recorded: list[Work] | None = None
        self.spoilt = False
        self._before: list[Stream] = []
        self._null = null

    def begin_capture(self, mode: int | None = None) -> None:
        if self._null or self.recorded is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the default stream, or one that captures already")
        self.recorded, self.spoilt = [], False

    def end_capture(self) -> Graph:
        recorded, self.recorded = self.recorded, None
        if recorded is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream does not capture")
        if self.spoilt:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture")
        return Graph(recorded)

    def is_capturing(self) -> bool:
        return self.recorded is not None

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        if event.seconds is None:
            raise CUDARuntimeError("the event was never recorded")

    def synchronize(self) -> None:
        if self.recorded is not None:
            self.spoilt = True
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")

    def use(self) -> Self:
        _current.stream = self
        return self

    def __enter__(self) -> Self:
        self._before.append(current())
        return self.use()

    def __exit__(self, *_: object) -> None:
        _current.stream = self._before.pop()


_current = threading.local()
NULL = Stream(null=True)


def current() -> Stream:
    """This thread's."""
    stream: Stream = getattr(_current, "stream", NULL)
    return stream


def submit(name: str, run: Callable[[], None], segments: Sequence[_Segment]) -> None:
    """Work of the current stream. Nothing in it may keep an array alive, only the memory."""
    work, stream = Work(name, run, segments), current()
    if name != FREE:
        counts.launch(name)
    if stream.recorded is None:
        work()
    else:
        stream.recorded.append(work)


def refuse_while_capturing(what: str) -> None:
    """Raises CUDARuntimeError, and spoils the capture, where this thread's stream captures."""
    stream = current()
    if stream.recorded is not None:
        stream.spoilt = True
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} is not permitted when stream is capturing")
