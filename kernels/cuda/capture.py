"""Kernels launched one after another, captured as one CUDA graph that owns its memory: a launch instead of hundreds.

    captured = Capture(build)           # build() -> run; run() launches kernels and returns what they write
    with captured.stream:
        captured.launch()
    captured.close()                    # or let go of it: graph and memory go back to the device

A graph replays addresses. So everything that is allocated in `build` and `run` comes from a pool of the capture's own, and
nobody else is given that memory as long as the graph lives. What `run` lets go of is used again within a run.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from epcore.kernels.cuda.loader import require_cupy

SETTLING = 8  # runs at most until a run needs no more memory than the one before

Result = TypeVar("Result")


class Capture(Generic[Result]):
    """`result`: what `run` returned while it was captured; every launch writes its arrays anew.

    build and run must not refer to the owner of the capture, which would keep both alive. Raises RuntimeError without a GPU,
    or where `run` asks for other memory each time; what `build` and `run` raise.
    """

    def __init__(self, build: Callable[[], Callable[[], Result]]) -> None:
        cupy = require_cupy()
        _give_back_failed()
        pool, self.stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        held: list[Any] = []  # the graph, and all that it refers to
        self._pool, self._held = pool, held
        self.close = weakref.finalize(self, _give_back, held, self.stream, pool)
        """Wait for the last launch, give all memory back to the device. Again, or after that: nothing."""
        cupy.cuda.get_current_stream().synchronize()  # what `build` reads is there
        try:
            held += self._capture(build)
        except BaseException:
            self.close()
            _failed.append(pool)  # the error's traceback still holds arrays
            raise

    @property
    def pool_bytes(self) -> int:
        """All GPU memory that is held."""
        return int(self._pool.total_bytes())

    @property
    def result(self) -> Result:
        """Raises RuntimeError after `close`."""
        result: Result = self._part(1)
        return result

    def launch(self) -> None:
        """On `stream`, behind what is in it. Raises RuntimeError after `close`."""
        self._part(0).launch(self.stream)

    def _part(self, number: int) -> Any:
        if not self._held:
            raise RuntimeError("the graph was closed: its memory was given back to the device")
        return self._held[number]

    def _capture(self, build: Callable[[], Callable[[], Result]]) -> tuple[Any, ...]:
        """Graph, result, and what keeps alive all that they refer to."""
        using_allocator = require_cupy().cuda.using_allocator
        with self.stream:
            with using_allocator(self._pool.malloc):
                run = build()
                self._settle(run)
            with using_allocator(self._refuse_growth):
                return *self._record(run), run

    def _settle(self, run: Callable[[], Result]) -> None:
        """Compiles every kernel and lets the pool grow to its size; a run that begins as another ended may cut it otherwise."""
        for _ in range(SETTLING):
            before = self._pool.total_bytes()
            run()
            self.stream.synchronize()
            if self._pool.total_bytes() == before:
                return

    def _record(self, run: Callable[[], Result]) -> tuple[Any, Result]:
        self.stream.begin_capture()
        try:
            result = run()
        except BaseException:
            with contextlib.suppress(Exception):  # it fails as well, after what went wrong, and would hide it
                self.stream.end_capture()
            raise
        return self.stream.end_capture(), result

    def _refuse_growth(self, size: int) -> Any:
        """An allocator for the capture. A pool that finds no memory gives back what is free, which the graph may refer to."""
        before = self._pool.total_bytes()
        memory = self._pool.malloc(size)
        if self._pool.total_bytes() != before:
            raise RuntimeError(f"a captured run asked for {size} bytes that the runs before it did not need")
        return memory


_failed: list[Any] = []  # pools of captures that failed, with what their errors still held


def _give_back_failed() -> None:
    for pool in _failed:
        pool.free_all_blocks()
    _failed[:] = [pool for pool in _failed if pool.total_bytes()]


def _give_back(held: list[Any], stream: Any, pool: Any) -> None:
    """A dropped pool keeps its free memory for ever (CuPy 14.2): it has to be asked for it."""
    with contextlib.suppress(Exception):  # a device that failed has nothing to wait for
        stream.synchronize()
    held.clear()
    pool.free_all_blocks()
