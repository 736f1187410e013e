"""Outputs on their way: written beside their places, under names that nobody can guess, and moved there together or not at all.

A temporary file is created exclusively and locked as long as its writer lives. So what has the form of such a name, is ours and
is not locked was left by a process that was killed; whoever writes into the same folder next removes it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from epcore.base.files import check_writable, existing_folder, is_device, writing
from epcore.base.locks import CLOSED, NO_LINK, try_lock
from epcore.base.signals import uninterrupted

_NAME = re.compile(r"\.epcore-[0-9a-f]{16}\.tmp")
_BINARY = os.O_BINARY if hasattr(os, "O_BINARY") else 0
_swept: set[Path] = set()  # folders, once a process


class StagedFolder:
    """An empty folder at `stage`, whose files are to be moved to `folder`."""

    def __init__(self, folder: Path, stage: Path) -> None:
        self.folder, self.stage = folder, stage

    def write(self, name: str, data: bytes) -> None:
        """Raises OSError naming the place where the file was to be."""
        with self.open(name) as file:
            file.write(data)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A new file to write, and to seek in. Raises as `write`."""
        with writing(self.folder / name), (self.stage / name).open("xb") as file:
            yield file


class Staging:
    """Files, and folders of them. `commit` moves all to their places; what is not committed when the block ends is gone.

    Each file appears whole. All appear, or none, where there is an error; a process that is killed in the very moment of moving
    several may have moved some.
    """

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []
        self._folders: list[StagedFolder] = []
        self._temporary = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._temporary.close()

    @contextmanager
    def open(self, path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
        """A binary file to write; devices and pipes are written at once. Raises OSError naming the path."""
        check_writable(path)
        target = Path(os.path.realpath(path))  # a link stays a link
        if is_device(target):
            with writing(path), target.open("wb") as file:
                yield file
            return
        with writing(path, always=True):
            beside, descriptor = _create_file(target.parent)
        self._temporary.callback(_remove, beside, descriptor)
        with writing(path), os.fdopen(os.dup(descriptor), "wb") as file:
            yield file
        self._files.append((beside, target))

    def folder(self, path: str | os.PathLike[str]) -> StagedFolder:
        """An empty folder; `path` is made where it does not exist. Raises OSError naming the path."""
        with writing(path, always=True):
            for above in (Path(os.path.abspath(path)), *Path(os.path.abspath(path)).parents):
                sweep(above)  # it was staged there, if this one did not exist
            stage, descriptor = _create_folder(existing_folder(path))
        self._temporary.callback(_remove, stage, descriptor)
        self._folders.append(StagedFolder(Path(os.path.abspath(path)), stage))
        return self._folders[-1]

    def scratch(self) -> IO[bytes]:
        """A file without a name, for what is not whole yet; it goes with the block."""
        return self._temporary.enter_context(TemporaryFile())

    def commit(self) -> None:
        """Move everything. Raises OSError naming the path that could not be; then all is as it was before."""
        with uninterrupted(), ExitStack() as kept, ExitStack() as undo:
            moves = list(self._files)
            for each in self._folders:
                undo.callback(_remove_empty, each.folder, existing_folder(each.folder))
                with writing(each.folder, always=True):
                    each.folder.mkdir(parents=True, exist_ok=True)
                moves += [(file, each.folder / file.name) for file in sorted(each.stage.iterdir())]
            for source, target in moves:
                old = _keep(target) if len(moves) > 1 else None
                if old:
                    kept.callback(old.unlink, missing_ok=True)
                with writing(target, always=True):
                    os.replace(source, target)
                undo.callback(_put_back, old, target)
            undo.pop_all()
        self._files, self._folders = [], []


@contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes its place when the block ends without an error.

    Raises OSError naming the path; then nothing is left behind and an older file of that name stays as it was.
    """
    with Staging() as staging:
        with staging.open(path) as file:
            yield file
        staging.commit()


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file whole or not at all. str is written as UTF-8, bytes of names that are none as they were. Raises as above."""
    with open_atomically(path) as file:
        file.write(data.encode(errors="surrogateescape") if isinstance(data, str) else data)


@contextmanager
def staged_folder(folder: str | os.PathLike[str]) -> Iterator[StagedFolder]:
    """A folder of files that take their places when the block ends without an error. Raises as above."""
    with Staging() as staging:
        yield staging.folder(folder)
        staging.commit()


def second_name(path: str | os.PathLike[str], name: str | os.PathLike[str]) -> None:
    """Give a file that is about to be replaced another name; where a file system has no second names, that one only."""
    old = _keep(Path(path))
    try:
        os.replace(old or path, name)
    finally:
        if old:
            old.unlink(missing_ok=True)  # renaming does nothing where `name` was a name of the same file


def _create_file(folder: Path) -> tuple[Path, int]:
    sweep(folder)
    while True:
        path = folder / f".epcore-{secrets.token_hex(8)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | CLOSED | NO_LINK | _BINARY
        descriptor = os.open(path, flags, 0o666)
        if _hold(descriptor):
            return path, descriptor


def _create_folder(folder: Path) -> tuple[Path, int | None]:
    sweep(folder)
    while True:
        path = folder / f".epcore-{secrets.token_hex(8)}.tmp"
        path.mkdir(mode=0o700)
        if os.name == "nt":
            return path, None
        descriptor = os.open(path, os.O_RDONLY | CLOSED | NO_LINK)
        if _hold(descriptor):
            return path, descriptor


def _hold(descriptor: int) -> bool:
    """Lock what was just created; False where a sweep was quicker. Without locks there are no sweeps either."""
    try:
        if try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0:
            return True
    except OSError:
        return True
    os.close(descriptor)
    return False


def _remove(path: Path, descriptor: int | None) -> None:
    """What was moved is not there any more. Removed before the lock ends, or nobody would know that it is left over."""
    if os.name == "nt" and descriptor is not None:  # which does not remove open files
        os.close(descriptor)
        descriptor = None
    try:
        with suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder: temporary files of this form and user that no process holds."""
    folder = Path(os.path.abspath(folder))
    if folder in _swept or os.name == "nt":
        return
    _swept.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        left = [entry.path for entry in entries if _NAME.fullmatch(entry.name)]
        for path in left:
            with suppress(OSError):
                _sweep(path)


def _sweep(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | CLOSED | NO_LINK)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or not try_lock(descriptor):
            return
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(path)
        elif stat.S_ISREG(found.st_mode):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _keep(target: Path) -> Path | None:
    """Another name for a file that is to be replaced; None where there is no file, or the file system has no such names."""
    old = target.with_name(f".epcore-{secrets.token_hex(8)}.tmp")
    try:
        os.link(target, old, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return None
    return old


def _put_back(old: Path | None, target: Path) -> None:
    with suppress(OSError):
        if old:
            os.replace(old, target)
        else:
            target.unlink()


def _remove_empty(folder: Path, existing: Path) -> None:
    """A folder and those above it that were made for it."""
    with suppress(OSError):
        while folder != existing:
            folder.rmdir()
            folder = folder.parent
