"""The beginning of a file that is being fetched: one process at a time adds to it, and what came stays for the next one.

It is a folder beside the file's place, NAME.part: the bytes so far, and the ETag of what they are the beginning of. The next
request asks for the rest of just that (RFC 9110, Range and If-Range), so that bytes of two different files are never joined.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epcore.base.files import writing
from epcore.base.locks import FolderLock
from epcore.base.progress import status_line

_POLL = 0.1  # seconds between two looks at a lock


class Part:
    """content: the bytes so far, a file that may be missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.content = folder / "content"
        self._etag = folder / "etag"

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.content.stat().st_size if self.content.exists() else 0

    @property
    def etag(self) -> str:
        """What a server calls the whole; "" where it gave no name that holds for every byte, and so nothing can be added."""
        return self._etag.read_text(encoding="latin-1") if self._etag.exists() else ""

    def begin(self, etag: str = "") -> None:
        """Forget what is here. etag: of what follows. Raises OSError naming the file."""
        with writing(self.content, always=True):
            self.content.write_bytes(b"")  # first: an ETag beside bytes of something else would join the two
            self._etag.write_text("" if etag.startswith("W/") else etag, encoding="latin-1")

    def add(self, chunk: bytes) -> None:
        """Raises OSError naming the file."""
        with writing(self.content, always=True), self.content.open("ab") as file:
            file.write(chunk)

    def move(self, target: Path) -> None:
        """The whole takes its place at once. Raises OSError naming it."""
        with writing(target, always=True):
            os.replace(self.content, target)
        self._etag.unlink(missing_ok=True)

    def remove(self) -> None:
        for path in (self.content, self._etag):
            path.unlink(missing_ok=True)


def part_folder(target: Path) -> Path:
    """Where the part of a file is."""
    return target.with_name(f"{target.name}.part")


@contextmanager
def only_here(target: Path) -> Iterator[Part]:
    """The part of a file, for this process alone: another one that has it is waited for. Raises OSError naming the place."""
    folder = part_folder(target)
    lock = _lock(folder)
    try:
        yield Part(folder)
    finally:
        lock.release()
        with suppress(OSError):  # bytes are in it, or somebody else has it already
            folder.rmdir()


def _lock(folder: Path) -> FolderLock:
    waited = False
    while True:
        with writing(folder, always=True):
            folder.mkdir(exist_ok=True)
        try:
            lock = FolderLock(folder)
        except FileNotFoundError:  # who had it has just removed it
            continue
        except BlockingIOError as error:
            if not waited:
                status_line(str(error).partition(":")[0])
            waited = True
            time.sleep(_POLL)
            continue
        if waited:
            status_line("")
        return lock
