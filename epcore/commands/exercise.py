"""`epcore exercise OPERATOR`: write a backward pass yourself, and be told what is wrong with it.

The file given to --check is Python code of your own: it is executed, in a process of its own, with limits of time and memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from epcore.base.figures import kind_of
from epcore.base.files import check_writable
from epcore.commands.console import Input, Output, add_output
from epcore.commands.result import Content, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "operator", nargs="?", metavar="OPERATOR", help="swish, batch_norm, ...; without one: all, with their equations"
    )
    add_output(parser, "--output", help="where the stub goes (default: OPERATOR_exercise.py; - prints it)")
    parser.add_argument("--check", type=Input, metavar="FILE", help="check the backward in this file")
    add_output(parser, "--plot", named=True, help="with --check: draw where gradients are wrong, .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.exercise.diagnose import diagnose
    from epcore.exercise.plot import draw
    from epcore.exercise.report import report
    from epcore.exercise.stub import stub

    if arguments.operator is None:
        return _listing(arguments)
    text = stub(arguments.operator)
    if not arguments.check:
        if arguments.plot is not None:
            raise ValueError("--plot draws what --check finds: name the file to check")
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
    kind = None if arguments.plot is None else kind_of(arguments.plot, "--plot")
    diagnosis = diagnose(arguments.operator, arguments.check)
    files: dict[str, Content] = {}
    if kind is not None and not all(sample.is_right for sample in diagnosis.samples):
        files[arguments.plot] = draw(diagnosis, kind)
    return Result(report(diagnosis), files=files, code=1 if diagnosis.findings else 0)


def _listing(arguments: argparse.Namespace) -> Result:
    """Every operator there is, with the first line of its page. Raises ValueError where an option asks for more."""
    from epcore.ops import OPS

    if arguments.output or arguments.check or arguments.plot:
        raise ValueError(f"name the operator, one of {', '.join(OPS)}")
    width = max(map(len, OPS))
    lines = [f"{name:<{width}}  {op.page.title}" for name, op in OPS.items()]
    return Result(
        "\n".join([*lines, "", "epcore exercise OPERATOR writes its file; in order, and with more to build: epcore learn"])
    )
