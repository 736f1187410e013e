"""`epcore gradcheck`: every hand-written gradient against numerical derivatives. Exit code 1 where a bound is missed."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from epcore.base.files import STDOUT, check_writable, write_atomically

if TYPE_CHECKING:
    from epcore.gradcheck import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="FILE", help="write the worst error of every operator and network; - is standard output"
    )
    parser.add_argument("--only", choices=("ops", "models"), help="check only the operators, or only the whole networks")


def run(arguments: argparse.Namespace) -> int:
    from epcore.gradcheck import NETWORK_BOUND, check_operators, networks
    from epcore.ops import OPS

    if arguments.json:
        check_writable(arguments.json)
    table = sys.stderr if arguments.json == STDOUT else sys.stdout
    ops: dict[str, float] = {}
    models: dict[str, float] = {}
    missed = 0

    if arguments.only != "models":
        print(f"{'operator':<18}{'case':<36}{'gradient of':<16}{'relative error':>15}{'bound':>9}", file=table)
        for result in check_operators():
            missed += not result.passed
            ops[result.op] = max(ops.get(result.op, 0.0), result.error)
            print(_line(result, _input_name(OPS[result.op].forward, result)), file=table)
    if arguments.only != "ops":
        print(
            f"\n{'network in training mode, all parameters along one direction':<70}{'relative error':>15}{'bound':>9}",
            file=table,
        )
        for name, make in networks().items():
            error = models[name] = make().together()
            missed += not error <= NETWORK_BOUND
            verdict = "" if error <= NETWORK_BOUND else "  MISSED"
            print(f"{name:<70}{error:>15.1e}{NETWORK_BOUND:>9.0e}{verdict}", file=table, flush=True)
    print(f"\n{missed or 'no'} bound{'' if missed == 1 else 's'} missed", file=table)
    if arguments.json:
        write_atomically(arguments.json, json.dumps({"ops": ops, "models": models}, indent=1) + "\n")
    return 1 if missed else 0


def _line(result: Result, name: str) -> str:
    verdict = "" if result.passed else "  MISSED"
    return f"{result.op:<18}{result.label:<36}{name:<16}{result.error:>15.1e}{result.bound:>9.0e}{verdict}"


def _input_name(forward: Callable[..., Any], result: Result) -> str:
    names = [p.name for p in inspect.signature(forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return names[result.input] if result.input < len(names) else f"xs[{result.input}]"
