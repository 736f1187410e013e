"""The `epcore` command: finds the subcommand, which `epcore.commands.console` runs."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from epcore.base.notices import say
from epcore.base.signals import INTERRUPTED, Ended, ending_in_order
from epcore.base.streams import prepare_streams
from epcore.base.version import VERSION

# name -> what `epcore --help` says; the module epcore.commands.<name> is imported only when it is needed.
COMMANDS = {
    "demo": "the whole system at work, on one page",
    "predict": "keypoints of people in pictures",
    "run": "raw maps of a stored input tensor",
    "audit": "parameters and FLOPs of every network, beside the paper's",
    "gradcheck": "every hand-written gradient against numerical derivatives",
    "learn": "a course: build the network yourself, from the equations to the kernels, each step checked",
    "exercise": "write a backward pass yourself and have it checked",
    "data": "check MPII, write its split, look at synthetic pictures",
    "train": "train a network, resume a training, find its learning rate",
    "evaluate": "PCKh of a network, by joint group, in both conventions",
    "plot": "loss, PCKh, learning rate and sigma of a training",
    "weights": "look into, import and export weight files",
    "vectors": "golden vectors of every layer, or of every operator, for ports",
    "diff": "where a port diverges from epcore, and why",
    "readiness": "what float16 and int8 would do to a network",
    "kernel": "where an operator is written, how it is compiled here, and its inner loop",
    "doctor": "what this machine is, and whether every kernel is right on it",
    "export-onnx": "a network as an ONNX file for other runtimes",
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, and where they are listed."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)")
        raise SystemExit(2)


def program() -> NoReturn:
    """`main` as a process of its own, which looks for garbage less often: imports make 10^5 objects that all stay."""
    gc.set_threshold(50_000, 20, 100)
    code = main()
    gc.freeze()  # the process ends: nothing is looked through once more
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, see docs/commands.md. Raises SystemExit for wrong options and --help."""
    try:
        prepare_streams()
        with ending_in_order():
            from epcore.commands.console import perform

            options = _parsed(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while modules are imported; what comes then is said by `perform`
        return INTERRUPTED
    except Ended as end:
        return end.code
    return perform(options.run, options)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """With `run`, what the command does."""
    parser = Parser(prog="epcore", description="EfficientPose from scratch: predict, audit, check, train, port.")
    parser.add_argument("--version", action="version", version=f"epcore {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text)
        if arguments[:1] == [name]:
            module = import_module(f"epcore.commands.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(arguments)
