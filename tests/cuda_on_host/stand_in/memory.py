"""Device memory in pools. A pool asks the device for segments, splits them into chunks and merges free neighbours again, as
CuPy's `SingleDeviceMemoryPool` does: best fit, sizes in multiples of 512 bytes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np

from cuda_on_host.stand_in import queue

UNIT = 512
POISON = 0xFF  # every float of it is NaN, every integer -1


class OutOfMemoryError(RuntimeError):
    """The device, or the limit of a pool, has no more memory."""


class Segment:
    """Memory that the device gave: bytes, and whether the pool still has it."""

    def __init__(self, size: int) -> None:
        self.bytes = np.full(size, POISON, np.uint8)
        self.alive = True

    def give_back(self) -> None:
        self.bytes[:] = POISON
        self.alive = False


class _Chunk:
    """Part of a segment. previous, next: its neighbours there."""

    def __init__(self, segment: Segment, start: int, size: int) -> None:
        self.segment, self.start, self.size = segment, start, size
        self.free = True
        self.previous: _Chunk | None = None
        self.next: _Chunk | None = None

    def split(self, size: int) -> None:
        """Down to `size`; the rest becomes the next chunk, free."""
        rest = _Chunk(self.segment, self.start + size, self.size - size)
        rest.previous, rest.next = self, self.next
        if self.next:
            self.next.previous = rest
        self.size, self.next = size, rest

    def take_next(self) -> None:
        assert self.next is not None
        self.size += self.next.size
        self.next = self.next.next
        if self.next:
            self.next.previous = self


class Memory:
    """An allocation. It goes back to its pool when nothing refers to it any more."""

    def __init__(self, pool: MemoryPool, chunk: _Chunk, size: int) -> None:
        self._pool, self._chunk, self.size = pool, chunk, size
        self._recording = queue.current().recorded  # the capture that it was allocated in

    @property
    def segment(self) -> Segment:
        return self._chunk.segment

    @property
    def bytes(self) -> np.ndarray:
        """(size,) uint8."""
        return self.segment.bytes[self._chunk.start : self._chunk.start + self.size]

    def __del__(self) -> None:
        recording, freed = queue.current().recorded, self.bytes
        if recording is not None and recording is self._recording:
            queue.submit(queue.FREE, lambda: freed.fill(POISON), [self.segment])  # whenever the graph gets there
        else:
            freed.fill(POISON)
        self._pool.take_back(self._chunk)


class MemoryPool:
    """`cupy.cuda.MemoryPool`: malloc, total_bytes, used_bytes, free_bytes, free_all_blocks, set_limit, get_limit."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []  # those that are free
        self._segments: list[Segment] = []
        self._limit = 0

    def malloc(self, size: int) -> Memory:
        wanted = max(-(-size // UNIT) * UNIT, UNIT)
        fitting = [chunk for chunk in self._chunks if chunk.size >= wanted]
        if fitting:
            chunk = min(fitting, key=lambda chunk: chunk.size)
            self._chunks.remove(chunk)
        else:
            chunk = self._grow(wanted)
        chunk.free = False
        if chunk.size > wanted:
            chunk.split(wanted)
            assert chunk.next is not None
            self._chunks.append(chunk.next)
        return Memory(self, chunk, size)

    def _grow(self, size: int) -> _Chunk:
        if self._limit and self.total_bytes() + size > self._limit:
            self.free_all_blocks()  # CuPy as well tries again after giving back what is free
            if self.total_bytes() + size > self._limit:
                raise OutOfMemoryError(f"out of memory: {size} bytes asked for, the pool's limit is {self._limit}")
        segment = Segment(size)
        self._segments.append(segment)
        return _Chunk(segment, 0, size)

    def take_back(self, chunk: _Chunk) -> None:
        chunk.free = True
        if chunk.next is not None and chunk.next.free:
            self._chunks.remove(chunk.next)
            chunk.take_next()
        if chunk.previous is not None and chunk.previous.free:
            chunk = chunk.previous
            self._chunks.remove(chunk)
            chunk.take_next()
        self._chunks.append(chunk)

    def free_all_blocks(self) -> None:
        """Segments that nothing lies in go back to the device."""
        for chunk in [chunk for chunk in self._chunks if chunk.size == chunk.segment.bytes.size]:
            self._chunks.remove(chunk)
            self._segments.remove(chunk.segment)
            chunk.segment.give_back()

    def total_bytes(self) -> int:
        return sum(segment.bytes.size for segment in self._segments)

    def free_bytes(self) -> int:
        return sum(chunk.size for chunk in self._chunks)

    def used_bytes(self) -> int:
        return self.total_bytes() - self.free_bytes()

    def set_limit(self, size: int = 0) -> None:
        self._limit = size

    def get_limit(self) -> int:
        return self._limit


Allocator = Callable[[int], Memory]
default_pool = MemoryPool()
_current = threading.local()


def allocate(size: int) -> Memory:
    """By this thread's allocator."""
    allocator: Allocator = getattr(_current, "allocator", default_pool.malloc)
    return allocator(size)


@contextlib.contextmanager
def using_allocator(allocator: Allocator) -> Iterator[None]:
    before = getattr(_current, "allocator", default_pool.malloc)
    _current.allocator = allocator
    try:
        yield
    finally:
        _current.allocator = before
