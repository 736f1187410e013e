"""NVRTC compiles CUDA C++ to machine code for a named GPU generation; neither a GPU nor a driver is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cupy.cuda import nvrtc


@dataclass(frozen=True)
class Resources:
    """What the assembler reports of one kernel: registers a thread, bytes of registers spilled to memory, stack bytes."""

    registers: int
    spills: int
    stack: int


def compile_for(code: str, name: str, architecture: int, kernels: Sequence[str], options: Sequence[str]) -> dict[str, Resources]:
    """Resources of every kernel named. Raises RuntimeError with the compiler's log where the code does not compile."""
    program = nvrtc.createProgram(code, name, (), ())
    try:
        for kernel in kernels:
            nvrtc.addNameExpression(program, kernel)
        try:
            nvrtc.compileProgram(program, (*options, f"-arch=sm_{architecture}", "--ptxas-options=-v"))
        except nvrtc.NVRTCError:
            raise RuntimeError(nvrtc.getProgramLog(program)) from None
        found = _resources(nvrtc.getProgramLog(program))
        return {kernel: found[nvrtc.getLoweredName(program, kernel)] for kernel in kernels}
    finally:
        nvrtc.destroyProgram(program)


def _resources(log: str) -> dict[str, Resources]:
    found: dict[str, Resources] = {}
    entry, stack, spills = "", 0, 0
    for line in log.replace("\0", "").splitlines():
        if match := re.search(r"entry function '(\S+)'", line):
            entry = match[1]
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
        if entry and (match := re.search(r"Used (\d+) registers", line)):
            found[entry] = Resources(int(match[1]), spills, stack)
            entry = ""
    return found
