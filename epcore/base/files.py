"""Output files appear whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STDOUT = "-"


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what `write_atomically` would raise after the work. Raises OSError naming the path."""
    if os.fspath(path) == STDOUT:
        if sys.stdout is None:
            raise OSError("cannot write to standard output: it is closed")
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    if not os.access(target if _is_device(target) else target.parent, os.W_OK):
        raise PermissionError(f"cannot write {path}: permission denied")


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file beside its place and move it there; "-" is standard output. str is written as UTF-8.

    Raises OSError naming the path; then nothing is left behind and an older file of that name stays as it was.
    """
    if os.fspath(path) == STDOUT and isinstance(data, str):
        check_writable(path)
        sys.stdout.write(data)
        sys.stdout.flush()
        return
    with open_atomically(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes its place when the block ends without an error; "-" is standard output. Raises as above."""
    if os.fspath(path) == STDOUT:
        check_writable(path)
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    check_writable(path)
    target = Path(os.path.realpath(path))  # a link stays a link
    if _is_device(target):
        with target.open("wb") as file:
            yield file
        return
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}.tmp")
    try:
        with _create(beside, path) as file:
            yield file
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _create(beside: Path, path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return beside.open("wb")
    except OSError as error:
        raise type(error)(f"cannot write {path}: {error.strerror}") from None


def _is_device(target: Path) -> bool:
    """Something like /dev/null or a pipe, that must not be replaced by a file."""
    return target.exists() and not target.is_file() and not target.is_dir()
