"""NVRTC compiles CUDA C++ to machine code for a named GPU generation; neither a GPU nor a driver is needed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cupy.cuda import nvrtc

GENERATIONS = {75: (), 80: (86, 89), 90: (), 100: (103,), 120: (121,)}  # Turing, Ampere and Ada, Hopper, Blackwell: variants
ARCHITECTURES = tuple(sorted({*GENERATIONS, *(variant for variants in GENERATIONS.values() for variant in variants)}))
CUPYS_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")  # what CuPy adds to a module's own


@dataclass(frozen=True)
class Resources:
    """What the assembler reports of one kernel: registers a thread, bytes of registers spilled to memory, stack bytes."""

    registers: int
    spills: int
    stack: int


def compile_for(
    code: str, name: str, architecture: int, kernels: Sequence[str], options: Sequence[str]
) -> dict[str, Resources]:
    """Resources of every kernel named. Raises RuntimeError with the compiler's log where the code does not compile."""
    with _compiled(code, name, architecture, kernels, options) as program:
        found = _resources(nvrtc.getProgramLog(program))
        return {kernel: found[nvrtc.getLoweredName(program, kernel)] for kernel in kernels}


def compile_cubin(
    code: str, name: str, architecture: int, kernels: Sequence[str], options: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """Machine code as an ELF file, and the kernels' names in it. Raises as `compile_for`."""
    with _compiled(code, name, architecture, kernels, options) as program:
        cubin = nvrtc.getCUBIN(program) + b"\0"  # CuPy leaves out the last byte, as if it were text
        return cubin, {kernel: nvrtc.getLoweredName(program, kernel) for kernel in kernels}


@contextlib.contextmanager
def _compiled(code: str, name: str, architecture: int, kernels: Sequence[str], options: Sequence[str]) -> Iterator[Any]:
    program = nvrtc.createProgram(code, name, (), ())
    try:
        for kernel in kernels:
            nvrtc.addNameExpression(program, kernel)
        try:
            nvrtc.compileProgram(program, (*options, *CUPYS_OPTIONS, f"-arch=sm_{architecture}", "--ptxas-options=-v"))
        except nvrtc.NVRTCError:
            raise RuntimeError(nvrtc.getProgramLog(program)) from None
        yield program
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


def main() -> None:
    """Print registers a thread of every kernel on every architecture: `cd tests && python -m cuda_on_host.compile_gate`."""
    from cuda_on_host.devices import sources
    from epcore.kernels.cuda.loader import OPTIONS, WIDTHS

    print(f"{'kernel':<52}" + "".join(f"{f'sm_{architecture}':>8}" for architecture in ARCHITECTURES))
    for file, source in sorted(sources().items()):
        kernels = [kernel for T in WIDTHS for kernel in source.instances(T)]
        tables = [compile_for(source.code(), f"{file}.cu", a, kernels, OPTIONS) for a in ARCHITECTURES]
        for kernel in kernels:
            print(f"{kernel:<52}" + "".join(f"{table[kernel].registers:>8}" for table in tables))


if __name__ == "__main__":
    main()
