"""The machine code of a kernel (SASS), read from what `nvdisasm` prints: no GPU is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cuda_on_host.compile_gate import compile_cubin
from epcore.kernels.cuda.loader import OPTIONS, Source

_LABEL = re.compile(r"(\.L_\w+):")
_INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:\{ *)?(.*?) *;")
_FUNCTION = re.compile(r"\.text\.(\S+?):")
_BRANCH = re.compile(r"\bBRA\b.*`\((\.L_\w+)\)")


@cache
def disassembler() -> str | None:
    """The path of nvdisasm: the wheel's or one on the PATH."""
    spec = find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    found = [str(path) for folder in folders or () for path in Path(folder).glob("*/bin/nvdisasm")]
    return found[0] if found else shutil.which("nvdisasm")


@dataclass(frozen=True)
class Loop:
    """Instructions first to last; the last jumps to the first."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, other: Loop) -> bool:
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Code:
    """One kernel. instructions: with their guards, in order."""

    kernel: str
    instructions: tuple[str, ...]
    loops: tuple[Loop, ...]

    def count(self, opcode: str, part: Loop | None = None) -> int:
        """Instructions whose opcode begins so."""
        within = self.instructions if part is None else self.instructions[part.first : part.last + 1]
        return sum(re.match(rf"(@!?U?P\w+ +)?{re.escape(opcode)}\b", text) is not None for text in within)

    def multiply_adds(self, part: Loop | None = None) -> int:
        """Blackwell's FFMA2 is two."""
        return self.count("FFMA", part) + 2 * self.count("FFMA2", part)

    @property
    def hottest(self) -> Loop:
        """The innermost loop that has the most multiply-adds; the whole kernel where none has a tenth of them."""
        inner = [loop for loop in self.loops if not any(other in loop for other in self.loops if other != loop)]
        full = [loop for loop in inner if 10 * self.multiply_adds(loop) >= self.multiply_adds() > 0]
        return max(full, key=self.multiply_adds, default=Loop(0, len(self.instructions) - 1))

    def per_element(self, taps: int) -> float:
        """Instructions for each output element of `taps` multiply-adds, in the hottest part."""
        return len(self.hottest) / (self.multiply_adds(self.hottest) / taps)

    def waits_in_turn(self) -> int:
        """Loops that load from global memory, store that to shared memory and go round: each load's wait is paid in turn."""
        return sum(
            self.count("LDG", loop) > 0 and self.count("STS", loop) > 0 and not self.multiply_adds(loop) for loop in self.loops
        )


def disassemble(source: Source, kernels: Sequence[str], architecture: int) -> dict[str, Code]:
    """The kernels named. Raises RuntimeError without nvdisasm."""
    tool = disassembler()
    if tool is None:
        raise RuntimeError("nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
    cubin, names = compile_cubin(source.code(), f"{source.file}.cu", architecture, kernels, OPTIONS)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True).stdout
    found = _parse(text)
    return {kernel: Code(kernel, *found[mangled]) for kernel, mangled in names.items()}


def _parse(text: str) -> dict[str, tuple[tuple[str, ...], tuple[Loop, ...]]]:
    """Instructions and loops by mangled name."""
    functions: dict[str, tuple[list[str], dict[str, int]]] = {}
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if match := _FUNCTION.match(line):
            instructions, labels = functions[match[1]] = [], {}
        elif match := _LABEL.match(line):
            labels[match[1]] = len(instructions)
        elif match := _INSTRUCTION.match(line):
            instructions.append(match[1])
    return {name: (tuple(lines), tuple(_loops(lines, places))) for name, (lines, places) in functions.items()}


def _loops(instructions: Sequence[str], labels: dict[str, int]) -> list[Loop]:
    found = []
    for number, text in enumerate(instructions):
        match = _BRANCH.search(text)
        if match and labels.get(match[1], number + 1) < number:
            found.append(Loop(labels[match[1]], number))
    return found
