"""`epcore gradcheck`: every hand-written gradient against numerical derivatives. Exit code 1 where a bound is missed."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from epcore.base.table import Table
from epcore.commands.console import add_json
from epcore.commands.result import Result as Outcome

if TYPE_CHECKING:
    from epcore.gradcheck import Result

MISSED = "  MISSED"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser, "the worst error of every operator and network")
    parser.add_argument("--only", choices=("ops", "models"), help="check only the operators, or only the whole networks")


def run(arguments: argparse.Namespace) -> Generator[str, None, Outcome]:
    from epcore.gradcheck import NETWORK_BOUND, check_operators, networks
    from epcore.ops import OPS

    table = Table("<18", "<36", "<16", ">15.1e", ">9.0e", "")
    ops: dict[str, float] = {}
    models: dict[str, float] = {}
    missed = 0

    if arguments.only != "models":
        yield table.line("operator", "case", "gradient of", "relative error", "bound")
        for result in check_operators():
            missed += not result.passed
            ops[result.op] = max(ops.get(result.op, 0.0), result.error)
            name = _input_name(OPS[result.op].forward, result)
            yield table.line(result.op, result.label, name, result.error, result.bound, "" if result.passed else MISSED)
    if arguments.only != "ops":
        table = Table("<70", ">15.1e", ">9.0e", "")
        yield "\n" + table.line("network in training mode, all parameters along one direction", "relative error", "bound")
        for name, make in networks().items():
            error = models[name] = make().together()
            missed += not error <= NETWORK_BOUND
            yield table.line(name, error, NETWORK_BOUND, "" if error <= NETWORK_BOUND else MISSED)
    text = f"\n{missed or 'no'} bound{'' if missed == 1 else 's'} missed"
    return Outcome(text, {"ops": ops, "models": models}, code=1 if missed else 0)


def _input_name(forward: Callable[..., Any], result: Result) -> str:
    names = [p.name for p in inspect.signature(forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return names[result.input] if result.input < len(names) else f"xs[{result.input}]"
