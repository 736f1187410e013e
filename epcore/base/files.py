"""Output files, and folders of them, appear whole or not at all; files that cannot be read say which they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what `write_atomically` would raise after the work. Raises OSError naming the path."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    if not os.access(target if _is_device(target) else target.parent, os.W_OK):
        raise PermissionError(f"cannot write {path}: permission denied")


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file beside its place and move it there. str is written as UTF-8.

    Raises OSError naming the path; then nothing is left behind and an older file of that name stays as it was.
    """
    with open_atomically(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes its place when the block ends without an error. Raises as above."""
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


def check_folder_writable(folder: str | os.PathLike[str], what: str = "files") -> None:
    """Raise now what `staged_folder` would raise after the work. what: is to be written, for the message. Raises OSError."""
    existing = _existing(folder)
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write {what} to {os.fspath(folder)}: {existing} is a file, expected a folder")
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"cannot write {what} to {os.fspath(folder)}: permission denied")


@contextmanager
def staged_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder whose files move to `folder`, made where it does not exist, when the block ends without an error."""
    with tempfile.TemporaryDirectory(dir=_existing(folder), prefix=".epcore-") as stage:
        yield Path(stage)
        os.makedirs(folder, exist_ok=True)
        for file in sorted(Path(stage).iterdir()):
            os.replace(file, Path(folder) / file.name)


def _existing(folder: str | os.PathLike[str]) -> Path:
    """The folder, or the nearest one above it that exists."""
    path = Path(os.path.abspath(folder))
    while not path.exists():
        path = path.parent
    return path


@contextmanager
def decoding(name: str, otherwise: str = "") -> Iterator[None]:
    """Whatever the content of a file makes the block raise becomes ValueError: "NAME is damaged: ...".

    A ValueError that names the file says enough and stays. otherwise: what else may be wrong (" or no .npz file").
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if name in str(error) else f"{name} is damaged: {error}") from None
    except Exception as error:  # decoders meet damaged bytes with whatever exception they run into
        raise ValueError(f"{name} is damaged{otherwise}: {error or type(error).__name__}") from None
