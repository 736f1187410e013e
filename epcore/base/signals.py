"""Signals that ask a process to end: what it holds is put in order, and its exit code says which it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED = 128 + 2  # the exit code of what Ctrl-C ended, as shells count
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(BaseException):
    """Raised where a signal arrives. code: 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


_depth = 0  # of `uninterrupted` blocks in the main thread
_waiting: list[int] = []


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise `Ended`, as Ctrl-C raises KeyboardInterrupt, so that temporary files go.

    Signals that somebody handles or ignores already (nohup) stay as they are, and so do all outside of the main thread. An
    import that a signal broke off says so, whatever the module in the middle of it made of that (NumPy an ImportError).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, *_SIGNALS)}
    ours = {number: handler for number, handler in usual.items() if handler in (signal.SIG_DFL, signal.default_int_handler)}
    arrived: list[int] = []

    def end(number: int, _frame: object) -> None:
        arrived.append(number)
        for each in ours:
            if each != signal.SIGINT:  # once is enough: a second one should not end the putting in order
                signal.signal(each, signal.SIG_IGN)
        if _depth:
            _waiting.append(number)
        else:
            _raise(number)

    for number in ours:
        signal.signal(number, end)
    try:
        yield
    except ImportError:
        if arrived:
            _raise(arrived[0])
        raise
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is begun within the block is finished; a signal that arrives meanwhile is raised at its end.

    Of the main thread, that is: others are never interrupted."""
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _waiting and not _depth:
            number = _waiting[0]
            _waiting.clear()
            _raise(number)


def _raise(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Ended(number)
