"""What a container allows: the CPU time and memory its control groups give to this process.

A container sees all cores of its host; its limits are files of the kernel. Version 2 of control groups has one tree with
`cpu.max`, `memory.max` and `memory.high`, version 1 a tree for each kind of limit; a limit of any group above ours holds for us
too. Elsewhere than on Linux, and where nothing can be read, there is no limit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable_cores() -> int:
    """Cores this process may run on: its affinity, or what PYTHON_CPU_COUNT says."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time the process gets, 1.5 say; None where that is not limited. root: holds /proc and /sys."""
    shares = []
    for version, folder in _groups(root, "cpu"):
        if version == 2:
            words = _words(folder / "cpu.max")
            quota, period = words if len(words) == 2 else (None, None)
        else:
            quota, period = (next(iter(_words(folder / f"cpu.cfs_{name}_us")), None) for name in ("quota", "period"))
        if quota is not None and quota > 0 and period is not None and period > 0:
            shares.append(quota / period)
    return min(shares, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes the process and those in its group may use together; None where that is not limited."""
    limits = []
    for version, folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",):
            limits += [int(word) for word in _words(folder / name) if word is not None and word < _NO_LIMIT]
    return min(limits, default=None)


_NO_LIMIT = 2.0**62  # version 1 writes "none" as the largest multiple of a page


def _groups(root: Path, kind: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of this process' group and of all above it that can be seen, for one kind of limit."""
    paths = {}  # kinds of a tree, "" for version 2 -> our group in it
    for line in _lines(root / "proc/self/cgroup"):
        _, kinds, path = (*line.split(":", 2), "", "")[:3]
        paths.update(dict.fromkeys(kinds.split(","), path))
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind_of_mount = before.split(), after.split()
        if len(fields) < 5 or len(kind_of_mount) < 3:
            continue
        if kind_of_mount[0] == "cgroup2" and "" in paths:
            version, path = 2, paths[""]
        elif kind_of_mount[0] == "cgroup" and kind in kind_of_mount[2].split(",") and kind in paths:
            version, path = 1, paths[kind]
        else:
            continue
        top, mount = (_unescaped(field) for field in fields[3:5])
        top_folder = root / mount.lstrip("/")
        folder = top_folder / _below(path, top)
        if not folder.is_dir():  # the group lies outside of what the container sees
            folder = top_folder
        while True:
            yield version, folder
            if folder == top_folder:
                break
            folder = folder.parent


def _below(path: str, top: str) -> PurePosixPath:
    """The group's path below the group that is mounted."""
    try:
        relative = PurePosixPath(path).relative_to(top)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative


def _unescaped(field: str) -> str:
    """Blanks and the like are octal in mountinfo."""
    for code in ("\\040", "\\011", "\\012", "\\134"):
        field = field.replace(code, chr(int(code[1:], 8)))
    return field


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _words(file: Path) -> list[float | None]:
    """Numbers of a file; None for "max" and whatever else is no number."""
    words: list[float | None] = []
    for word in " ".join(_lines(file)).split():
        try:
            number = float(word)
        except ValueError:
            number = math.inf
        words.append(number if math.isfinite(number) else None)
    return words
