"""The files of one folder of compiled kernels: read where they may be used, written whole or not at all, removed.

Kernels are loaded as pickles, so whoever can put a file there can run code as this user: a folder says whose it has to be.
"""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from epcore.base.staging import write_atomically


@dataclass(frozen=True)
class Folder:
    """path: of the kernels of one source folder. owners: user numbers it may belong to, None where anyone's is as good. mode:
    what it is made with, less the umask."""

    path: Path
    owners: frozenset[int] | None = None
    mode: int = 0o777

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none that may be used."""
        try:
            self._check_owner()
            return (self.path / name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True, mode=self.mode)
        self._check_owner()
        try:
            write_atomically(self.path / name, data)
        except OSError:
            if os.name == "nt" and (self.path / name).exists():  # another process has it open: it holds the same
                return
            raise

    def remove(self, prefix: str, keep: str) -> None:
        """Remove the files whose names start with `prefix` but not with `keep`, as far as that is possible."""
        for path in glob.glob(f"{glob.escape(str(self.path / prefix))}*"):
            if not Path(path).name.startswith(keep):
                with suppress(OSError):
                    os.unlink(path)

    def _check_owner(self) -> None:
        if self.owners is None or not hasattr(os, "geteuid"):
            return
        found = os.stat(self.path)
        if found.st_uid not in self.owners:
            raise PermissionError(f"it belongs to user {found.st_uid}")
