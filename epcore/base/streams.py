"""The standard streams as users have them: closed, on a full disk, a pipe whose reader has gone, in a locale of few letters."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


def prepare_streams() -> None:
    """For a command line. A closed stream's number is taken, or the next file that is opened would have it, and what is printed
    would land there. What a stream cannot say is said by escapes, never an error: names of files may be any bytes."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def send(stream: TextIO | None, text: str | bytes) -> None:
    """Write to a standard stream at once; bytes, and nothing where it is closed.

    Raises BrokenPipeError where nobody reads any more, OSError saying which stream cannot be written.
    """
    if stream is None:
        return
    try:
        if isinstance(text, str):
            stream.write(text)
        elif hasattr(stream, "buffer"):
            stream.flush()
            stream.buffer.write(text)
        else:  # a stream of a notebook or a test
            stream.write(text.decode(errors="replace"))
        stream.flush()
    except BrokenPipeError:
        silence(stream)
        raise
    except OSError as error:
        silence(stream)
        name = "error" if stream is sys.stderr else "output"
        raise OSError(f"cannot write to standard {name}: {error.strerror or error}") from None


def silence(stream: TextIO | None) -> None:
    """What is still to be written to a stream goes nowhere; else the interpreter tries once more at its end, and complains."""
    if stream is None:
        return
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
