"""The report as text for a terminal: places, what it is compiled with, then, where asked for, machine code."""

from __future__ import annotations

from epcore.kernels.cpu.processor import CHOICES, PROCESSOR
from epcore.listing import ALL
from epcore.listing.assembly import Block, Function
from epcore.listing.compiled import Compiled
from epcore.listing.report import KernelReport


def report_text(report: KernelReport) -> str:
    """Where it is written and how it is compiled here."""
    lines = [report.name, "", "Written in"]
    for place in report.places:
        functions = ", ".join(f"{name} (line {line})" for name, line in place.functions.items())
        lines.append(f"  {place.backend:<11}{place.file}: {functions}")
    if report.kernels:
        example = f" on {report.example}" if report.example else ""
        lines += ["", f"Compiled functions that run{example}"]
        lines += [f"  {kernel.use:<11}{kernel.name} ({kernel.file}, line {kernel.line})" for kernel in report.kernels]
        lines += ["", f"Compiled for {PROCESSOR.cpu} ({PROCESSOR.triple}) with"]
        reasons = {choice.name: choice.reason for choice in CHOICES}
        lines += [f"  {name:<14}{option!s:<14}{reasons[name]}" for name, option in report.choices.items()]
    return "\n".join(lines)


def functions_text(found: list[tuple[Compiled, Function]], chosen: int) -> str:
    """Functions with vectors in loops, and what is in the piece of each that has the most work; * is the one shown below."""
    lines = [
        "Machine code: vector instructions in each function's innermost piece",
        f"{'':4}{'multiply-adds':>13}{'other':>7}{'loads':>7}{'stores':>8}  function",
    ]
    for number, (kernel, function) in enumerate(found):
        block, mark = function.hottest, "*" if number == chosen else " "
        name = kernel.name if function.name == kernel.name else f"{kernel.name}: {function.name}"
        lines.append(
            f"{mark}{number:<3}{block.multiply_adds:>13}{block.arithmetic:>7}{block.loads:>7}{block.stores:>8}  "
            f"{kernel.use} {name}"
        )
    return "\n".join(lines)


def assembly_text(function: Function, shown: str) -> str:
    """The piece with the most work, or (ALL) the whole function, as LLVM writes it: on x86 the destination stands last."""
    if shown == ALL:
        return "\n".join(function.lines)
    block = function.hottest
    return "\n".join([_title(block), *([f"{block.label}:"] if block.label else []), *block.lines])


def _title(block: Block) -> str:
    kind = "the inner loop" if block.closes else "a straight piece inside a loop"
    return f"{kind}: {len(block.lines)} instructions, {block.multiply_adds} of them vector multiply-adds"
