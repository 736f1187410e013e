"""Items made ahead: order, how many there are at once, and that nothing is left behind however it ends."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from epcore.base.ahead import ahead


def makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "epcore-ahead"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    assert makers() == []


def test_order() -> None:
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead(range(5), 3)) == [0, 1, 2, 3, 4]
    assert list(ahead([])) == []


@pytest.mark.parametrize("most", [1, 3])
def test_the_next_one_is_made_meanwhile_and_no_more_than_asked_for(most: int) -> None:
    begun, changed = 0, threading.Condition()

    def items() -> Iterator[int]:
        nonlocal begun
        for number in range(20):
            with changed:
                begun += 1
                changed.notify_all()
            yield number

    for number in ahead(items(), most):
        wanted = min(number + 1 + most, 20)
        with changed:
            assert changed.wait_for(lambda wanted=wanted: begun >= wanted, 60)  # made although nobody asks for them
            assert begun == wanted


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the third")

    stream = ahead(items())
    assert (next(stream), next(stream)) == (1, 2)
    with pytest.raises(OSError, match="the third"):
        next(stream)


@pytest.mark.parametrize("how", ["close", "drop", "exception", "never begun"])
def test_left_early(how: str) -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            ended.set()

    stream = ahead(items())
    if how == "never begun":
        del stream
        return
    assert next(stream) == 1
    assert len(makers()) == 1
    if how == "close":
        stream.close()
    elif how == "drop":
        del stream
    else:
        with pytest.raises(ZeroDivisionError):
            _consume(stream)
        del stream
    gc.collect()
    assert makers() == []
    assert ended.is_set()


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_ctrl_c_while_an_item_is_waited_for() -> None:
    go = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGINT)  # the main thread is at, or about to be at, its wait for the second
        go.wait(60)
        yield 2

    stream = ahead(items())
    threading.Timer(0.2, go.set).start()
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    go.set()
    stream.close()


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(ahead(range(3))) == [0, 1, 2]


def _consume(stream: Iterator[int]) -> None:
    for _ in stream:
        raise ZeroDivisionError
