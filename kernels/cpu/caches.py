"""The caches of a core, from which the planner tells what stays in one: sizes as the system gives them.

Linux has files for them, macOS `sysctlbyname`, Windows GetLogicalProcessorInformation. What none of them says (containers may
hide it, AArch64 kernels often do not know) is as DEFAULT has it. EPCORE_CACHES forces all three: "48K,2M,32M".
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VARIABLE = "EPCORE_CACHES"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LARGEST = 1 << 36  # whatever says more is no cache


@dataclass(frozen=True)
class Caches:
    """Bytes that one core has: of its data cache, of the second level, of the third (0 where there is none).

    A cache that several share counts as divided among all logical processors on it, since there may be a thread on each.
    """

    first: int
    second: int
    third: int

    def __str__(self) -> str:
        return ",".join(map(_text, (self.first, self.second, self.third)))


DEFAULT = Caches(32 << 10, 1 << 20, 2 << 20)


def caches() -> Caches:
    """Of this machine, or as EPCORE_CACHES says. Raises ValueError where that is not three sizes."""
    wanted = os.environ.get(VARIABLE)
    return _found() if wanted is None else parse(wanted)


def parse(text: str) -> Caches:
    """Of "48K,2M,32M": first, second and third level of a core. Raises ValueError, naming the variable, for anything else."""
    sizes = [re.fullmatch(r"(\d{1,11})([KMG]?)", part.strip(), re.ASCII) for part in text.upper().split(",")]
    if len(sizes) == 3 and all(sizes):
        first, second, third = (int(size[1]) * _UNITS[size[2]] for size in sizes if size)
        if 0 < first <= second <= _LARGEST and third <= _LARGEST:
            return Caches(first, second, third)
    raise ValueError(
        f'{VARIABLE} is {text!r}, expected three levels\' sizes as in "48K,2M,32M", the second no less than the first'
    )


@cache
def _found() -> Caches:
    levels: dict[int, int] = {}
    with suppress(OSError, ValueError, AttributeError):  # whatever a system lacks: the rest is as by default
        if sys.platform == "linux":
            levels = from_files(Path("/sys/devices/system/cpu/cpu0/cache"))
        elif sys.platform == "darwin":  # pragma: no cover
            levels = _from_sysctl()
        elif sys.platform == "win32":  # pragma: no cover
            levels = from_windows(_windows_records())
    return complete(levels)


def complete(levels: dict[int, int]) -> Caches:
    """Caches of level -> bytes: what is missing or cannot be is as in DEFAULT. A third level is missed only with the second."""
    known = {level: size for level, size in levels.items() if 0 < size <= _LARGEST}
    first = known.get(1, DEFAULT.first)
    second = max(first, known.get(2, DEFAULT.second))
    return Caches(first, second, known.get(3, 0 if 2 in known else DEFAULT.third))


def from_files(folder: Path) -> dict[int, int]:
    """Level -> bytes of a core, of Linux's folder for one. Files that are missing or hold anything else are passed over."""
    levels: dict[int, int] = {}
    for index in sorted(folder.glob("index*")):
        with suppress(OSError, ValueError, KeyError):
            if _read(index / "type") in ("Data", "Unified"):
                size = re.fullmatch(r"(\d{1,11})([KMG]?)", _read(index / "size"), re.ASCII)
                if size:
                    levels[int(_read(index / "level"))] = int(size[1]) * _UNITS[size[2]] // _shared_by(index)
    return levels


def _shared_by(index: Path) -> int:
    """Logical processors on a cache, from a list as "0-3,8"; 1 where it is not there."""
    try:
        ranges = [part.partition("-")[::2] for part in _read(index / "shared_cpu_list").split(",")]
        return max(1, sum(int(last or first) - int(first) + 1 for first, last in ranges))
    except (OSError, ValueError):
        return 1


def _read(path: Path) -> str:
    return path.read_text("ascii", errors="replace").strip()


def _from_sysctl() -> dict[int, int]:  # pragma: no cover - macOS
    """Of the fast cores where there are two kinds."""
    library = ctypes.CDLL(None)

    def ask(name: str) -> int:
        value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
        failed = library.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
        return 0 if failed else value.value

    levels = {}
    for level, name in ((1, "l1dcachesize"), (2, "l2cachesize"), (3, "l3cachesize")):
        shared = ask(f"hw.perflevel0.cpusperl{level}") if level > 1 else 1
        levels[level] = (ask(f"hw.perflevel0.{name}") or ask(f"hw.{name}")) // max(1, shared)
    return {level: size for level, size in levels.items() if size}


def from_windows(records: bytes) -> dict[int, int]:
    """Level -> bytes of a core, of SYSTEM_LOGICAL_PROCESSOR_INFORMATION on 64 bits: mask of processors, what it is about (2: a
    cache), then level, ways, line, bytes, type (0 unified, 2 data)."""
    levels: dict[int, int] = {}
    for mask, about, level, _, _, size, kind in struct.iter_unpack("=QI4xBBHII4x", records):
        if about == 2 and kind in (0, 2) and mask & 1:
            levels[level] = size // max(1, mask.bit_count())
    return levels


def _windows_records() -> bytes:  # pragma: no cover - Windows
    if struct.calcsize("P") != 8:
        return b""
    call = ctypes.windll.kernel32.GetLogicalProcessorInformation  # type: ignore[attr-defined]
    size = ctypes.c_uint32(0)
    call(None, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    return room.raw[: size.value // 32 * 32] if call(room, ctypes.byref(size)) else b""


def _text(size: int) -> str:
    for unit in ("G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
