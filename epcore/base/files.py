"""Files that cannot be written or read: an error that says which, before the work where that can be known."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what `staging.write_atomically` would raise after the work. Raises OSError naming the path."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    if not os.access(target if is_device(target) else target.parent, os.W_OK):
        raise PermissionError(f"cannot write {path}: permission denied")


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def writing(path: str | os.PathLike[str], *, always: bool = False) -> Iterator[None]:
    """A block that writes a file: a disk that is full or fails is an OSError that names it. always: every other OSError too."""
    try:
        yield
    except OSError as error:
        if error.strerror is None or not (always or error.errno in _DISK):  # it is named already, or no affair of the disk's
            raise
        named = type(error)(f"cannot write {os.fspath(path)}: {error.strerror}")
        named.errno = error.errno
        raise named from None


def is_device(target: Path) -> bool:
    """Something like /dev/null or a pipe, that must not be replaced by a file."""
    return target.exists() and not target.is_file() and not target.is_dir()


def check_folder_writable(folder: str | os.PathLike[str], what: str = "files") -> None:
    """Raise now, OSError, what `staging.staged_folder` would raise after the work. what: is to be written, for the message."""
    existing = existing_folder(folder)
    if not existing.is_dir():
        raise NotADirectoryError(f"cannot write {what} to {os.fspath(folder)}: {existing} is a file, expected a folder")
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"cannot write {what} to {os.fspath(folder)}: permission denied")


def short_stem(path: str | os.PathLike[str]) -> str:
    """A file's name without folder and ending, so short that something can be put behind it: names may have 255 bytes."""
    return os.fsdecode(os.fsencode(Path(path).stem)[:200])


def existing_folder(folder: str | os.PathLike[str]) -> Path:
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
    except Exception as error:  # decoders meet damaged bytes with whatever exception they run into
        said = str(error) or type(error).__name__
        known = isinstance(error, ValueError) and name in said
        raise ValueError(said if known else f"{name} is damaged{otherwise}: {said}") from None
