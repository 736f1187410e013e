"""One kernel as a program of its own: compiled with every access watched, run in a child process within limits.

The compiler's instrumentation for the thread sanitizer, for indices and for coverage is linked with host/watch.cpp in place of
the sanitizers' libraries; no library of theirs is needed.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epcore.learn.cuda.source import HEADERS, compiled, headers, host_source

ORDERS = {"forward": 0, "reversed": 1, "shuffled": 2, "lockstep": 3}
SECONDS, MEMORY, BLOCKS = 4, 4 << 30, 1_000_000  # of a run: processor time, address space, basic blocks a thread may run
PRINTED, FILE = 1 << 16, 1 << 28  # bytes of what a kernel prints that are kept; of a file that the program may write

_COMMON = ["-std=c++17", "-O1", "-fno-pie", f"-I{HEADERS}"]
# No scalar replacement: a vector load stays one. Blocks in the order of the source: lanes that parted meet where they can.
_KERNEL = ["-gdwarf-4", "-c", "-DCOH_WATCHED", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused", "-fno-tree-sra",
           "-fno-reorder-blocks", "-fno-strict-aliasing", "-ffp-contract=off",
           "-fsanitize=thread,bounds", "-fsanitize-coverage=trace-pc,trace-cmp"]  # fmt: skip
_WATCH = "watch.cpp"
_INCLUDED = ("vector_types.h", "cuda_on_host.h", "watched.h", "atomics.h", "fibers.h", "shadow.h", "warps.h")


class CompileError(Exception):
    """text: the compiler's."""


@dataclass(frozen=True)
class Launch:
    """A grid of blocks and the kernel's arguments. outputs: which arrays the kernel is to write; they start as NaN."""

    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: tuple[Any, ...]  # arrays, np.int32, np.float32, np.float64, np.uintp(0)
    outputs: tuple[int, ...]
    constant: bool = True  # whether all other arrays are inputs only
    shared: int = 0


@dataclass
class Run:
    """What one launch in one order did. findings, costs: objects as watch.cpp writes them; end: why it stopped, or empty."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)
    arrays: list[np.ndarray] = field(default_factory=list)  # those that are not inputs, in their order
    printed: str = ""  # by printf
    writers: list[np.ndarray] = field(default_factory=list)  # for each: (pc, block and thread) of every four bytes, uint64


def compiler() -> str | None:
    """The C++ compiler; None where it, or addr2line, is missing."""
    return shutil.which("g++") if shutil.which("addr2line") else None


def build(code: str, kernel: str, *, name: str, epilogue: str = "") -> Path:
    """The program that launches `kernel` of the CUDA C++ `code`. Raises CompileError.

    name: lines are those of NAME.cu; epilogue: C++ behind the kernel.
    """
    command = compiler() or "g++"
    watch = (HEADERS / _WATCH).read_text(encoding="utf-8")
    included = headers(*_INCLUDED)
    warnings = ["-Wall", "-Wno-unused"]
    runtime = compiled([command, *_COMMON, *warnings, "-c"], watch, included, name="watch", suffix=".o")
    source = host_source(code, [kernel], name=name) + epilogue
    try:
        part = compiled([command, *_COMMON, *_KERNEL], source, included, name=name, suffix=".o")
    except RuntimeError as error:
        raise CompileError(str(error)) from None
    program = part.with_name(f"{part.stem}-{runtime.stem[-8:]}")
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=part.parent) as folder:
            made = Path(folder) / "program"
            link = [command, "-no-pie", str(part), str(runtime), "-o", str(made)]
            result = subprocess.run(link, capture_output=True, text=True, check=False)
            if result.returncode:
                raise CompileError(result.stderr)
            made.replace(program)
    return program


def run(program: Path, launch: Launch, order: str) -> Run:
    """The launch, in a process of its own. What it wrote is in the result; the launch's arrays are left alone."""
    with tempfile.TemporaryDirectory() as folder:
        request, result, after, printed = (Path(folder) / name for name in ("request", "result", "buffers", "printed"))
        arrays = _write_request(request, launch)
        limits = (BLOCKS, SECONDS, MEMORY, FILE)
        command = [str(program), str(request), str(result), str(after), str(ORDERS[order]), *map(str, limits)]
        try:
            with printed.open("wb") as file:
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.DEVNULL, check=False,
                               timeout=15 * SECONDS)  # fmt: skip
        except subprocess.TimeoutExpired:
            return Run(end={"end": "time", "pc": 0, "last": 0})
        lines = [json.loads(line) for line in result.read_text().splitlines()] if result.exists() else []
        run = Run([line for line in lines if "finding" in line], [line for line in lines if "cost" in line])
        run.end = next((line for line in lines if "end" in line), {"end": "ended", "pc": 0, "last": 0})
        with printed.open("rb") as file:
            run.printed = file.read(PRINTED).decode(errors="replace")
        if after.exists():
            _read_buffers(after.read_bytes(), [arrays[i] for i in _written(launch, len(arrays))], run)
        return run


def lines_of(program: Path, addresses: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
    """(file name, line) of every address, the innermost function's first. Without addr2line: none."""
    if not addresses or shutil.which("addr2line") is None:
        return {}
    command = ["addr2line", "-a", "-i", "-e", str(program), *(hex(address) for address in addresses)]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[int, list[tuple[str, int]]] = {}
    places: list[tuple[str, int]] = []
    for line in text.splitlines():
        if line.startswith("0x"):
            places = found.setdefault(int(line, 16), [])
        elif match := re.match(r"(.*):(\d+)", line):
            places.append((Path(match[1]).name, int(match[2])))
    return found


def _written(launch: Launch, count: int) -> list[int]:
    return [i for i in range(count) if i in launch.outputs or not launch.constant]


def _write_request(path: Path, launch: Launch) -> list[np.ndarray]:
    """The launch as watch.cpp reads it; its arrays."""
    arrays = [argument for argument in launch.arguments if isinstance(argument, np.ndarray)]
    flags = [0 if i in launch.outputs else 3 if launch.constant else 1 for i in range(len(arrays))]
    words, number = [], 0
    for argument in launch.arguments:
        if isinstance(argument, np.ndarray):
            words.append(f"b {number}")
            number += 1
        else:
            words.append(f"w {int.from_bytes(np.asarray(argument).tobytes(), 'little')}")
    head = [str(len(arrays)), *(f"{array.nbytes} {flag}" for array, flag in zip(arrays, flags, strict=True))]
    sizes = (*(*launch.grid, 1, 1)[:3], *(*launch.block, 1, 1)[:3], launch.shared, len(words))
    head += [" ".join(map(str, sizes)), *words]
    with path.open("wb") as file:
        file.write(("\n".join(head) + "\n").encode())
        for array, flag in zip(arrays, flags, strict=True):
            if flag & 1:
                file.write(np.ascontiguousarray(array).tobytes())
    return arrays


def _read_buffers(data: bytes, arrays: list[np.ndarray], run: Run) -> None:
    at = 0
    for array in arrays:
        run.arrays.append(np.frombuffer(data, array.dtype, array.size, at).reshape(array.shape))
        at += array.nbytes
        cells = math.ceil(array.nbytes / 4)
        run.writers.append(np.frombuffer(data, np.uint64, 2 * cells, at).reshape(cells, 2))
        at += 16 * cells
