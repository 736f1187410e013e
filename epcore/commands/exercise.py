"""`epcore exercise OPERATOR`: write a backward pass yourself, and let the gradient check say what is wrong with it.

The file given to --check is Python code of your own and is executed.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

from epcore.base.files import check_writable
from epcore.commands.console import Output, add_output
from epcore.commands.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operator", metavar="OPERATOR", help="swish, batch_norm, depthwise_conv2d, ... (a file of epcore/ops)")
    add_output(parser, "--output", help="where the stub goes (default: OPERATOR_exercise.py; - prints it)")
    parser.add_argument("--check", metavar="FILE", help="check the backward in this file")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.exercise.diagnose import diagnose
    from epcore.exercise.stub import stub
    from epcore.gradcheck import cases
    from epcore.ops import OPS

    text = stub(arguments.operator)
    if not arguments.check:
        output: Output = arguments.output or Output(f"{arguments.operator}_exercise.py", "--output")
        if output.is_stdout:
            return Result(files={output: text})
        check_writable(output)
        if Path(output).exists():
            raise ValueError(f"{output} exists: move it away, or name another --output")
        said = f"wrote {output}: fill in backward, then epcore exercise {arguments.operator} --check {output}"
        return Result(said, files={output: text})
    if not Path(arguments.check).is_file():
        raise FileNotFoundError(f"no file {arguments.check}")
    try:
        namespace = runpy.run_path(arguments.check)
    except Exception as error:
        raise ValueError(f"{arguments.check} does not run: {type(error).__name__}: {error}") from None
    if not callable(namespace.get("backward")):
        raise ValueError(f"{arguments.check} has no function backward")
    finding = diagnose(OPS[arguments.operator].name, namespace["backward"])
    if finding is None:
        count = sum(case.op == arguments.operator for case in cases())
        return Result(f"right: all gradients of {arguments.operator}, in {count} cases")
    said = f"not yet: {arguments.operator}, case {finding.case}, gradient of {finding.input}: {finding.message}"
    return Result(said, code=1)
