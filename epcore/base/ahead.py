"""Items made by a thread before they are asked for, so that making the next one overlaps the use of this one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], most: int = 1) -> Generator[T]:
    """The items in their order, up to `most` of them made, or in the making, while the consumer is at an earlier one.

    An exception that making one raises comes where its item would. The thread is there from the first item that is asked for
    until the last is given, the generator is closed or dropped, or an exception leaves it: it then finishes the item in hand,
    and is waited for. Where the system gives no thread, items are made when they are asked for.
    """
    made: SimpleQueue[T | _End] = SimpleQueue()
    room = threading.Semaphore(most)
    stop = threading.Event()
    maker = threading.Thread(target=_make, args=(iter(items), made, room, stop), daemon=True, name="epcore-ahead")
    try:
        try:
            maker.start()
        except RuntimeError:  # the system gives no more threads
            yield from items
            return
        while not isinstance(item := made.get(), _End):
            room.release()
            yield item
            del item  # or it would be kept while the next is waited for
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        room.release()
        # Dropped while the interpreter ends, or by a collection that ran in the thread itself, nobody is left to wait for.
        if maker.is_alive() and maker is not threading.current_thread() and not sys.is_finalizing():
            maker.join()


class _End:
    """What comes after the last item. error: why it was the last, if not because there are no more."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _make(items: Iterator[T], made: SimpleQueue[T | _End], room: threading.Semaphore, stop: threading.Event) -> None:
    """What the thread does. It holds no generator of `ahead`, so that one that nobody uses any more goes."""
    error = None
    try:
        while True:
            room.acquire()
            if stop.is_set():
                break
            made.put(next(items))
    except StopIteration:
        pass
    except BaseException as raised:
        error = raised
    finally:
        made.put(_End(error))
