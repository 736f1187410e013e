"""Signals end what is going on in order: raised at once, or when what must not be interrupted is done."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from epcore.base.signals import Ended, ending_in_order, uninterrupted

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Ended), (signal.SIGHUP, Ended), (signal.SIGINT, KeyboardInterrupt)]
)
def test_raised_at_once_and_as_before_afterwards(number: signal.Signals, error: type[BaseException]) -> None:
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    found = signal.signal(number, usual)  # under nohup SIGHUP is ignored, and would stay so
    try:
        with pytest.raises(error) as caught, ending_in_order():  # noqa: PT012
            os.kill(os.getpid(), number)
            pytest.fail("the work goes on")
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, found)
    assert getattr(caught.value, "code", 130) == 128 + number


def test_raised_when_it_is_done() -> None:
    done = []
    with pytest.raises(Ended), ending_in_order(), uninterrupted():  # noqa: PT012
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_other_threads_hold_nothing_up() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with ending_in_order(), uninterrupted():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    with pytest.raises(KeyboardInterrupt), ending_in_order():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the work goes on")
    leave.set()
    thread.join()
