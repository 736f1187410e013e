"""`epcore exercise OPERATOR`: write a backward pass yourself, and let the gradient check say what is wrong with it.

The file given to --check is Python code of your own and is executed.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

from epcore.base.files import STDOUT, check_writable, write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operator", metavar="OPERATOR", help="swish, batch_norm, depthwise_conv2d, ... (a file of epcore/ops)")
    parser.add_argument("--output", metavar="FILE", help="where the stub goes (default: OPERATOR_exercise.py; - prints it)")
    parser.add_argument("--check", metavar="FILE", help="check the backward in this file")


def run(arguments: argparse.Namespace) -> int:
    from epcore.exercise.diagnose import diagnose
    from epcore.exercise.stub import stub
    from epcore.gradcheck import cases
    from epcore.ops import OPS

    text = stub(arguments.operator)
    if not arguments.check:
        output = arguments.output or f"{arguments.operator}_exercise.py"
        check_writable(output)
        if output != STDOUT and Path(output).exists():
            raise ValueError(f"{output} exists: move it away, or name another --output")
        write_atomically(output, text)
        if output != STDOUT:
            print(f"wrote {output}: fill in backward, then epcore exercise {arguments.operator} --check {output}")
        return 0
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
        print(f"right: all gradients of {arguments.operator}, in {count} cases")
        return 0
    print(f"not yet: {arguments.operator}, case {finding.case}, gradient of {finding.input}: {finding.message}")
    return 1
