"""`epcore gradcheck`: every hand-written gradient against numerical derivatives. Exit code 1 where a bound is missed."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from epcore.commands.console import add_json
from epcore.commands.result import Result as Outcome

if TYPE_CHECKING:
    from epcore.gradcheck import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser, "the worst error of every operator and network")
    parser.add_argument("--only", choices=("ops", "models"), help="check only the operators, or only the whole networks")


def run(arguments: argparse.Namespace) -> Generator[str, None, Outcome]:
    from epcore.gradcheck import NETWORK_BOUND, check_operators, networks
    from epcore.ops import OPS

    ops: dict[str, float] = {}
    models: dict[str, float] = {}
    missed = 0

    if arguments.only != "models":
        yield f"{'operator':<18}{'case':<36}{'gradient of':<16}{'relative error':>15}{'bound':>9}"
        for result in check_operators():
            missed += not result.passed
            ops[result.op] = max(ops.get(result.op, 0.0), result.error)
            yield _line(result, _input_name(OPS[result.op].forward, result))
    if arguments.only != "ops":
        yield f"\n{'network in training mode, all parameters along one direction':<70}{'relative error':>15}{'bound':>9}"
        for name, make in networks().items():
            error = models[name] = make().together()
            missed += not error <= NETWORK_BOUND
            verdict = "" if error <= NETWORK_BOUND else "  MISSED"
            yield f"{name:<70}{error:>15.1e}{NETWORK_BOUND:>9.0e}{verdict}"
    text = f"\n{missed or 'no'} bound{'' if missed == 1 else 's'} missed"
    return Outcome(text, {"ops": ops, "models": models}, code=1 if missed else 0)


def _line(result: Result, name: str) -> str:
    verdict = "" if result.passed else "  MISSED"
    return f"{result.op:<18}{result.label:<36}{name:<16}{result.error:>15.1e}{result.bound:>9.0e}{verdict}"


def _input_name(forward: Callable[..., Any], result: Result) -> str:
    names = [p.name for p in inspect.signature(forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return names[result.input] if result.input < len(names) else f"xs[{result.input}]"
