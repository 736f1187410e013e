"""Locks of the operating system: they end with the process that holds them, however it ends, so none is ever stale."""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
import weakref
from pathlib import Path

from epcore.base.notices import Notice

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"  # in a folder that is in use
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_FAR = 1 << 30  # Windows locks bytes, and nobody can read those: one that the file does not have
CLOSED = os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0  # not for programs that this one starts
NO_LINK = os.O_NOFOLLOW if hasattr(os, "O_NOFOLLOW") else 0


def try_lock(descriptor: int) -> bool:
    """Lock an open file, on Linux and macOS a folder too; False where another open of it holds the lock, in any process.

    Raises OSError where its file system has no locks.
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


class FolderLock:
    """A folder that one process, and one user of it within the process, has at a time; it exists.

    Raises BlockingIOError, naming who has it, where somebody does. Where the file system has no locks, a Notice says so and
    nothing is locked. Ends with `release`, with the object, or with the process.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | CLOSED | NO_LINK, 0o666)
            try:
                if not try_lock(descriptor):
                    holder = os.read(descriptor, 200).decode(errors="replace").strip()
                    raise BlockingIOError(f"{folder} is in use by {holder or 'another process'}: wait for its end, or stop it")
                if _is(path, descriptor):
                    break
            except BlockingIOError:
                os.close(descriptor)
                raise
            except OSError as error:
                warnings.warn(
                    f"{folder} cannot be locked ({error.strerror}): let no other process use it", Notice, stacklevel=3
                )
                break
            os.close(descriptor)  # its holder has just removed it
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self.release = weakref.finalize(self, _release, descriptor, path, os.getpid())


def _is(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(descriptor: int, path: Path, process: int) -> None:
    """The file goes first, while nobody else can have it. A forked child has only its copy of the descriptor to close."""
    if os.getpid() == process and os.name != "nt" and _is(path, descriptor):
        path.unlink(missing_ok=True)
    os.close(descriptor)
