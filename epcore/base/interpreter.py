"""Python processes of our own: how they are started, and what they import."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def interpreter() -> str | None:
    """The Python to start; None where there is none, as in a program that embeds it. Who does says to multiprocessing where it
    is."""
    spawn = sys.modules.get("multiprocessing.spawn")
    chosen = spawn.get_executable() if spawn else None
    found = os.fsdecode(chosen or sys.executable or "")
    return None if getattr(sys, "frozen", False) or not found else found


def import_path() -> list[str]:
    """Where this process finds modules, absolute: the directory it works in may be another one by now."""
    return [os.path.abspath(entry) for entry in sys.path if entry]


def package_path() -> list[str]:
    """The folders of epcore itself, absolute: its parents may be no part of `import_path`."""
    folders: Sequence[str] = sys.modules["epcore"].__path__
    return [os.path.abspath(folder) for folder in folders]
