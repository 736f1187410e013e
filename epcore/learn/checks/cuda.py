"""CUDA kernels: what the watched run on the processor finds and counts."""

from __future__ import annotations

from epcore.learn.course import Exercise
from epcore.learn.cuda.check import Check, check_cuda
from epcore.learn.student import Student
from epcore.learn.verdict import Finding, Verdict


def check(exercise: Exercise, student: Student) -> Verdict:
    """Of the student's kernel. Without a compiler the one finding says what to install."""
    try:
        found = check_cuda(student.file, exercise.name)
    except (OSError, ValueError) as error:
        return Verdict((Finding(exercise.file, None, str(error)),))
    student.printed += found.printed
    findings = tuple(
        Finding(exercise.file, each.line, f"{each.kind}: {each.message}") for each in found.findings if not each.advice
    )
    advice = tuple(f"slow: {each}" for each in found.findings if each.advice)
    return Verdict(findings, advice if findings else (*_counted(found), *advice))


def _counted(found: Check) -> tuple[str, ...]:
    if found.counts is None or found.ours is None:
        return ()
    mine, ours = found.counts, found.ours
    lines = [
        f"{found.counted_case}: {mine.sectors:,} transactions of 32 bytes, {mine.coalesced:.0%} of them needed; "
        f"epcore's kernel {ours.sectors:,}, {ours.coalesced:.0%}",
        f"bank conflicts {mine.conflicts:,} ({ours.conflicts:,}), warps parted at branches {mine.parted:,} ({ours.parted:,})",
    ]
    if found.microseconds is not None:
        lines.append(f"on this GPU {found.microseconds[0]:.1f} us, epcore's kernel {found.microseconds[1]:.1f} us")
    return tuple(lines)
