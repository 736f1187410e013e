"""Checks a student's CUDA kernel without a GPU.

It runs in four orders of its threads: forward, reversed, shuffled, and in lockstep, in which it is counted as well. Every
access is watched (host/watch.cpp). What it costs is set beside epcore's own kernel on the same arrays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from epcore.learn.cuda.counts import Counts, advice, counted
from epcore.learn.cuda.exercises import EXERCISES, Case, Exercise
from epcore.learn.cuda.findings import Finding, Scene, line_table, merge, thread, translate
from epcore.learn.cuda.ours import count
from epcore.learn.cuda.program import ORDERS, CompileError, Run, build, compiler, run
from epcore.learn.cuda.timing import timed

INSTALL = (
    "checking CUDA kernels without a GPU needs the C++ compiler g++ and addr2line: apt install g++ (Debian, Ubuntu),"
    " dnf install gcc-c++ (Fedora), conda install gxx (conda)"
)
NAME = "answer"  # of the file, for the compiler: what the student calls it may hold any sign
MOST = 5  # errors of the compiler that are passed on


@dataclass(frozen=True)
class Check:
    """findings: mistakes first, then advice; counts, ours: of the last case, None where something is wrong."""

    exercise: str
    findings: tuple[Finding, ...]
    counted_case: str = ""
    counts: Counts | None = None
    ours: Counts | None = None
    microseconds: tuple[float, float] | None = None  # the student's kernel and ours on a GPU, where there is one
    printed: str = ""  # by the kernel's printf, in the last case that ran, its threads forward

    @property
    def right(self) -> bool:
        return all(finding.advice for finding in self.findings)


def check_cuda(source: Path, exercise: str) -> Check:
    """What is wrong or slow in the file's kernel.

    Raises ValueError for an unknown exercise, OSError where the file cannot be read or no compiler is found.
    """
    if exercise not in EXERCISES:
        raise ValueError(f"unknown exercise {exercise!r}: expected one of {', '.join(EXERCISES)}")
    return check_code(source.read_text(encoding="utf-8"), source.name, EXERCISES[exercise])


def check_code(code: str, file: str, task: Exercise) -> Check:
    """As `check_cuda`, of CUDA C++ that is in no file; `file` is what the findings call it."""
    if compiler() is None:
        raise OSError(INSTALL)
    declared = f"void {task.kernel}({', '.join(task.signature)})"
    if not re.search(rf"__global__[^;{{]*\b{task.kernel}\s*\(", code):
        return Check(task.name, (Finding("missing", file, None, f"there is no kernel: expected __global__ {declared}"),))
    epilogue = (
        f'#line 1 "signature"\nstatic_assert(std::is_same_v<decltype(&{task.kernel}), void (*)({", ".join(task.signature)})>, '
        f'"expected __global__ {declared}");\n'
    )
    try:
        program = build(code, task.kernel, name=NAME, epilogue=epilogue)
    except CompileError as error:
        return Check(task.name, tuple(_compile_errors(str(error), file)))
    result = _judge(program, task)
    if result.right:
        try:
            result = replace(result, microseconds=timed(code, task.kernel, task.large))
        except CompileError as error:  # what g++ takes need not be what NVRTC takes
            result = replace(result, findings=(Finding("compile", file, None, f"for the GPU: {error}"),))
    return replace(result, findings=tuple(replace(finding, file=file) for finding in result.findings))


def _judge(program: Path, task: Exercise) -> Check:
    cases = task.cases()
    for case in cases:
        scene = Scene(program, case.problem.launch, task.names, f"{NAME}.cu", case.label)
        runs: dict[str, Run] = {}
        for order in ORDERS:
            runs[order] = run(program, case.problem.launch, order)
            if _endless(runs[order]):
                break
        found = merge([finding for result in runs.values() for finding in translate(result, scene)])
        found = found or merge([finding for order, result in runs.items() for finding in _wrong(case, result, scene, order)])
        if found:
            return Check(task.name, tuple(found), printed=runs["forward"].printed)
    ours = count(case.problem.ours, case.problem.inputs)
    lockstep = runs["lockstep"]
    return Check(
        task.name, tuple(advice(lockstep, scene, ours)), case.label, counted(lockstep), ours, printed=runs["forward"].printed
    )


def _compile_errors(text: str, file: str) -> Sequence[Finding]:
    found = [
        Finding("compile", file, int(line), message)
        for line, message in re.findall(rf"^{NAME}\.cu:(\d+):\d+: (?:fatal )?error: (.*)$", text, re.MULTILINE)
    ]
    signature = re.search(r"^signature:.*(expected __global__ .*)$", text, re.MULTILINE)
    if signature and not found:
        return [Finding("signature", file, None, f"the kernel has other parameters: {signature[1]}")]
    for symbol in re.findall(r"undefined reference to `(.+)'|multiple definition of `(.+)'", text):
        missing = "is nowhere defined, or not supported by the emulator" if symbol[0] else "is defined already"
        found.append(Finding("compile", file, None, f"{symbol[0] or symbol[1]} {missing}"))
    return merge(found)[:MOST] or [Finding("compile", file, None, text.strip())]


def _wrong(case: Case, result: Run, scene: Scene, order: str) -> list[Finding]:
    """A value that is not the reference's, with the line that wrote it."""
    (got,), (writers,) = result.arrays, result.writers
    name, where = scene.names[-1], "" if order == "forward" else f", with the threads {order}"
    pc = writers[:, 0]
    if (pc == 0).any():
        at = np.unravel_index(int((pc == 0).argmax()), got.shape)
        text = f"{int((pc == 0).sum())} of {got.size} elements of {name} are never written, the first is {_index(at)}"
        return [Finding("never written", scene.file, None, text, scene.case)]
    wrong = ~(np.abs(got - case.expected) <= case.bound)
    if not wrong.any():
        return []
    flat = int(wrong.argmax())
    at = np.unravel_index(flat, got.shape)
    line = line_table(scene.program, [int(pc[flat])], scene.file).get(int(pc[flat]))
    writer = thread({"thread": int(writers[flat, 1]) & 0xFFFF, "block": int(writers[flat, 1]) >> 32}, scene.launch)
    text = (
        f"{int(wrong.sum())} of {got.size} elements of {name} are wrong{where}, the first is {name}{_index(at)}: {got[at]:.6g},"
        f" expected {case.expected[at]:.6g}; {writer} wrote it"
    )
    return [Finding("wrong result", scene.file, line, text, scene.case)]


def _endless(result: Run) -> bool:
    return result.end["end"] == "time" or any(finding["finding"] == "endless" for finding in result.findings)


def _index(at: Sequence[np.intp]) -> str:
    return "[" + ",".join(str(int(i)) for i in at) + "]"
