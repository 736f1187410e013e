"""`epcore doctor`: what this machine is and whether every kernel is right on it. Exit code 1 where one is not.

The checks run in processes of their own, so that one that crashes or hangs is a line of the report and not its end.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import closing

from epcore.base.checks import FACTOR, PROCESSES, Real, Whole
from epcore.base.notices import say
from epcore.commands.console import add_json
from epcore.commands.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser, "the report")
    parser.add_argument(
        "--time-limit",
        type=Real(0, FACTOR, above=True),
        default=120.0,
        metavar="S",
        help="processor seconds for one check (%(default)g)",
    )
    parser.add_argument(
        "--processes", type=Whole(1, PROCESSES), metavar="N", help="checks that run at a time (default: cores, at most 4)"
    )


def run(arguments: argparse.Namespace) -> Generator[str, None, Result]:
    from epcore.doctor.report import WRONG, examine
    from epcore.doctor.supervise import processes
    from epcore.doctor.text import checks_text, machine_text

    count = processes() if arguments.processes is None else arguments.processes
    with closing(examine(count, arguments.time_limit)) as examination:
        yield machine_text(next(examination))
        report = next(examination)
    for row in report["checks"]:
        if row["status"] == WRONG:
            say(f"epcore doctor: {row['backend']} {row['name']} is {WRONG}: {row['message']}")
    return Result(checks_text(report), report, code=0 if report["ok"] else 1)
