"""`epcore doctor`: what this machine is and whether every kernel is right on it. Exit code 1 where one is not.

The checks run in processes of their own, so that one that crashes or hangs is a line of the report and not its end.
"""

from __future__ import annotations

import argparse
import json
import sys

from epcore.base.files import STDOUT, check_writable, write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - is standard output")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=120.0,
        metavar="S",
        help="processor seconds for one check (%(default)g)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="checks that run at a time (default: cores, at most 4)")


def run(arguments: argparse.Namespace) -> int:
    from epcore.doctor.report import WRONG, examine
    from epcore.doctor.supervise import processes
    from epcore.doctor.text import checks_text, machine_text

    if arguments.json:
        check_writable(arguments.json)
    count = processes() if arguments.processes is None else arguments.processes
    if count < 1 or not arguments.time_limit > 0:
        raise ValueError(f"--processes is {count} and --time-limit {arguments.time_limit:g}: expected numbers above 0")
    table = sys.stderr if arguments.json == STDOUT else sys.stdout

    report = examine(count, arguments.time_limit, lambda begun: print(machine_text(begun), file=table, flush=True))
    print(checks_text(report), file=table, flush=True)
    for row in report["checks"]:
        if row["status"] == WRONG:
            print(f"epcore doctor: {row['backend']} {row['name']} is {WRONG}: {row['message']}", file=sys.stderr)
    if arguments.json:
        write_atomically(arguments.json, json.dumps(report, indent=1) + "\n")
    return 0 if report["ok"] else 1
