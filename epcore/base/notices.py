"""What is said beside results: what the library has to say without an error (`warnings` shows it, the command line prints it
as one line), and what the command line says while it works."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from epcore.base.printable import printable
from epcore.base.streams import send


class Notice(UserWarning):
    """Base of all warnings of epcore."""


def say(text: str) -> None:
    """A line, or several, on standard error at once. Where that cannot be written there is nobody to tell, and work goes on."""
    with suppress(OSError):
        send(sys.stderr, printable(text) + "\n")


def say_meanwhile(text: str) -> None:
    """`say` of what takes a while, where a command line runs and standard error is a terminal: somebody waits there."""
    if _as_lines and sys.stderr is not None and sys.stderr.isatty():
        say(text)


_as_lines = False


@contextmanager
def as_lines() -> Iterator[None]:
    """What the library has to say is one line on standard error; other warnings look as Python shows them."""
    global _as_lines
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, Notice):
            shown(message, category, filename, lineno, file, line)
        else:
            say(f"epcore: {message}")

    warnings.showwarning, _as_lines = show, True
    try:
        yield
    finally:
        warnings.showwarning, _as_lines = shown, False
