"""Where compiled kernels are kept between processes, and what is said where nothing can be kept.

In this order: the folder NUMBA_CACHE_DIR names, `__pycache__` beside the source, the user's cache folder, a temporary folder of
this process and those it starts. All are read, also those that cannot be written (an image warmed when it was built); where
NUMBA_CACHE_DIR can be written, it alone is. Written is the first that takes the file.

Kernels are loaded as pickles, so whoever can put a file there can run code as this user: the user's folder has to belong to
the user, a folder under NUMBA_CACHE_DIR to the user, the administrator or the owner of NUMBA_CACHE_DIR, and the temporary
folder has a name nobody can foresee.
"""

from __future__ import annotations

import atexit
import glob
import hashlib
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from numba import config
from numba.misc.appdirs import AppDirs

from epcore.base.notices import Notice
from epcore.kernels.cpu.cache_files import Folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Names the temporary folder to the processes started from here: they share it, and what was said is not said again.
INHERITED = "EPCORE_TEMPORARY_CACHE"
_NOWHERE = "none"
_PREFIX = "epcore-kernels-"
_LOCK = "in-use"
_SAID = "said"


class CacheNotice(Notice):
    """Compiled kernels are not kept where they should be."""


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else -1


def _named(below: str) -> Folder | None:
    if not config.CACHE_DIR:  # type: ignore[attr-defined]
        return None
    try:
        root = Path(os.path.abspath(config.CACHE_DIR))  # type: ignore[attr-defined]
    except OSError:  # relative, and the working directory is gone
        return None
    owners = {_user(), 0}
    with suppress(OSError):
        owners.add(root.stat().st_uid)
    return Folder(root / below, frozenset(owners))


def _personal(below: str) -> Folder | None:
    """In the user's cache folder, if the user has a home: "~" stays "~" without HOME and without an entry among users."""
    home, root = Path(os.path.expanduser("~")), Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
    if not root.is_absolute() or (home in root.parents and not home.is_dir()):
        return None
    return Folder(root / below, frozenset({_user()}), mode=0o700)


def _can_write(folder: Path) -> bool:
    """Whether files can be made in the folder, or the folder itself be made, as far as permissions tell."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _below(source: Path) -> str:
    """Name for the kernels of a source folder, as Numba has it: two checkouts share no folder."""
    return f"{source.name}_{hashlib.sha1(os.fsencode(source), usedforsecurity=False).hexdigest()}"


class Folders:
    """The folders for kernels whose source lies in `source`."""

    def __init__(self, source: Path) -> None:
        self._below = _below(source)
        named, beside = _named(self._below), Folder(source / "__pycache__")
        self.named = named
        self.lasting = [folder for folder in (named, beside, _personal(self._below)) if folder is not None]
        self._alone = named is not None and _can_write(named.path)

    def read(self, name: str) -> Iterator[bytes]:
        """The file of this name in every folder that has it."""
        for folder in self.lasting[:1] if self._alone else self.lasting:
            if (data := folder.read(name)) is not None:
                yield data
        if (temporary := self._temporary()) is not None and (data := temporary.read(name)) is not None:
            yield data

    def write(self, name: str, data: bytes, prefix: str, keep: str) -> None:
        """Write a file in the first folder that takes it, and remove there what starts with `prefix` but not with `keep`.

        Issues a CacheNotice, once a process, where that is not the folder that was named, or none that lasts.
        """
        failed = []
        for folder in self.lasting:
            try:
                folder.write(name, data)
            except OSError as error:
                failed.append((folder, error))
                continue
            folder.remove(prefix, keep)
            if failed and failed[0][0] is self.named:
                _say_elsewhere(failed[0][1], folder)
            return
        share_temporary(say=True)
        if (temporary := self._temporary()) is not None:
            with suppress(OSError):  # full: this process has its kernels in memory, others compile theirs
                temporary.write(name, data)
        _say_nowhere("; ".join(f"{folder.path.parent}: {_reason(error)}" for folder, error in failed))

    def remove(self, prefix: str) -> None:
        """Remove the files whose names start with `prefix`, wherever that is possible."""
        for folder in self.lasting:
            folder.remove(prefix, keep="\0")

    def _temporary(self) -> Folder | None:
        root = _temporary_root()
        return None if root is None else Folder(root / self._below, frozenset({_user()}), mode=0o700)


@cache
def _folders(source: Path, named: str) -> Folders:
    return Folders(source)


def folders(source: Path) -> Folders:
    """The folders for kernels whose source lies in `source`, as NUMBA_CACHE_DIR is now."""
    return _folders(source, str(config.CACHE_DIR))  # type: ignore[attr-defined]


def kept_in(source: Path = Path(__file__).parent) -> Path | None:
    """The folder that takes kernels compiled now, as far as permissions tell; None where nothing lasting can be written."""
    return next((folder.path for folder in folders(source).lasting if _can_write(folder.path)), None)


# ---- the temporary folder


def settle(source: Path = Path(__file__).parent, *, say: bool = False) -> None:
    """Called before kernels are loaded or compiled, and before processes are started that will: where nothing lasting can be
    written, make the temporary folder now, so that all have the same one.

    say: issue the CacheNotice of a temporary folder that cannot be made now, for all processes started from here.
    """
    if not any(_can_write(folder.path) for folder in folders(source).lasting):
        share_temporary(say=say)


def share_temporary(*, say: bool) -> None:
    """Make a temporary folder, unless one was inherited that still exists, and name it to processes started from now on."""
    if _temporary_root() is not None:
        return
    try:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
    except OSError as error:
        if say:
            os.environ[INHERITED] = _NOWHERE
            _say_nowhere(_reason(error))
        return
    os.environ[INHERITED] = str(root)
    _remove_left_behind(root.parent)
    _hold(root)
    atexit.register(_remove_own, root, os.getpid())


def _temporary_root() -> Path | None:
    """The temporary folder in use: absolute, a folder and no link, this user's alone."""
    root = Path(os.environ.get(INHERITED, _NOWHERE))
    try:
        found = root.lstat() if root.is_absolute() else None
    except OSError:
        return None
    if found is None or not stat.S_ISDIR(found.st_mode):
        return None
    if hasattr(os, "geteuid") and (found.st_uid != _user() or found.st_mode & 0o077):
        return None
    return root


def _remove_own(root: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child ends too, and its parent goes on
        shutil.rmtree(root, ignore_errors=True)


def _hold(root: Path) -> None:
    """Show others that the folder is in use: the lock lasts as long as this process and those forked from it."""
    if fcntl is not None:
        with suppress(OSError):
            _held.append(os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            fcntl.flock(_held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)


_held: list[int] = []


def _remove_left_behind(parent: Path) -> None:
    """Remove folders of this user whose process was killed."""
    if fcntl is None:
        return
    for path in glob.glob(f"{glob.escape(str(parent / _PREFIX))}*/{_LOCK}"):
        with suppress(OSError):
            if os.lstat(os.path.dirname(path)).st_uid != _user():
                continue
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(os.path.dirname(path), ignore_errors=True)
            finally:
                os.close(lock)


# ---- what is said

_said: set[str] = set()
_told = os.environ.get(INHERITED) == _NOWHERE  # by the process that started this one


def _say(what: str, text: str) -> None:
    if what not in _said:
        _said.add(what)
        warnings.warn(text, CacheNotice, stacklevel=2)


def _say_elsewhere(error: OSError, instead: Folder) -> None:
    _say("elsewhere", f"NUMBA_CACHE_DIR cannot be written ({_reason(error)}): compiled kernels are kept in {instead.path}")


def _say_nowhere(reason: str) -> None:
    """Once for this process and those that share its temporary folder, or its lack of one."""
    if _told:
        return
    root = _temporary_root()
    if root is not None:
        try:
            (root / _SAID).touch(0o600, exist_ok=False)
        except FileExistsError:
            return
        except OSError:
            pass
    _say(
        "nowhere",
        "compiled kernels cannot be kept, so every process compiles them anew: set NUMBA_CACHE_DIR to a folder that can be "
        f"written ({reason})",
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
