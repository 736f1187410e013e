"""`epcore kernel`: where an operator is written, how it is compiled here, and the inner loop that the processor runs."""

from __future__ import annotations

import argparse

from epcore.base.checks import COUNT, Whole
from epcore.commands.console import add_json
from epcore.commands.result import Result
from epcore.listing import ALL, INNER, PLAN, WRITTEN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="OPERATOR", help='an operator, a step of plans ("band", "plan.add"), or "plan": their names'
    )
    parser.add_argument("--backend", choices=WRITTEN, help="look at one implementation only")
    parser.add_argument(
        "--example", type=Whole(0, COUNT), default=0, metavar="N", help="which of the operator's examples to run (%(default)s)"
    )
    parser.add_argument(
        "--assembly",
        nargs="?",
        const=INNER,
        choices=(INNER, ALL),
        help="print the inner loop of the machine code, or a function",
    )
    parser.add_argument("--backward", action="store_true", help="machine code of the gradient's kernels instead")
    parser.add_argument("--llvm", action="store_true", help="print that function as LLVM optimised it")
    parser.add_argument(
        "--function", type=Whole(0, COUNT), metavar="N", help="which function of the table that --assembly prints"
    )
    add_json(parser, "where it is written and what it is compiled with")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.listing.report import names, report
    from epcore.listing.text import report_text

    if arguments.name == PLAN:
        _, steps = names()
        return Result("Steps of the plans: " + ", ".join(steps), {"steps": steps})
    machine_code = arguments.assembly or arguments.llvm
    if machine_code and arguments.backend not in (None, "cpu"):
        raise ValueError(f"--assembly and --llvm show what Numba compiles: the backend cpu, not {arguments.backend}")
    found = report(arguments.name, backend=arguments.backend, example=arguments.example)
    texts = [report_text(found)]
    if machine_code:
        from epcore.listing.text import assembly_text, functions_text

        functions = found.functions(backward=arguments.backward)
        number = arguments.function or 0
        if not 0 <= number < len(functions):
            raise ValueError(f"--function is {number}: expected 0 to {len(functions) - 1}")
        kernel, function = functions[number]
        texts.append(functions_text(functions, number))
        if arguments.assembly:
            texts.append(assembly_text(function, arguments.assembly))
        if arguments.llvm:
            texts.append(kernel.llvm(function))
    return Result("\n\n".join(texts), found.as_json())
