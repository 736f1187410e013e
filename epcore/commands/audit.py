"""`epcore audit`: every number the paper prints about its networks, counted from the graphs that run, beside the paper's."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from epcore.base.files import STDOUT, check_writable, write_atomically

if TYPE_CHECKING:
    from epcore.audit.compare import CountedRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write the rows of the tables; - is standard output")
    parser.add_argument("--html", metavar="FILE", help="write everything as a page with charts, in one file")
    parser.add_argument("--layers", metavar="VARIANT", help='every layer of one network: RT ... IV, "RT Lite", OpenPose')
    parser.add_argument("--memory", action="store_true", help="bytes of parameters, inference, plans and a training step")


def run(arguments: argparse.Namespace) -> int:
    from epcore.audit.compare import check_table_1, check_table_2, count_rows
    from epcore.audit.layers import count_layers
    from epcore.audit.summary import count_memory, count_work, find_row, openpose_readings
    from epcore.audit.text import cells_text, layers_text, memory_text, readings_text, rows_text, work_text

    if arguments.json == STDOUT and arguments.html == STDOUT:
        raise ValueError("--json and --html cannot both go to standard output")
    for path in (arguments.json, arguments.html):
        if path:
            check_writable(path)
    table = sys.stderr if STDOUT in (arguments.json, arguments.html) else sys.stdout
    layers = count_layers(find_row(arguments.layers).graph()) if arguments.layers else None
    rows = count_rows()
    if layers is not None:
        print(layers_text(find_row(arguments.layers).model, layers), file=table)
    elif arguments.memory:
        print(memory_text(count_memory()), file=table)
    else:
        sections = [rows_text(rows), cells_text(check_table_1()), cells_text(check_table_2()), work_text(count_work())]
        sections.append(readings_text(openpose_readings()))
        print("\n\n".join(sections), file=table)
    if arguments.json:
        write_atomically(arguments.json, json.dumps({"rows": [_row(counted) for counted in rows]}, indent=1) + "\n")
    if arguments.html:
        from epcore.audit.page import render

        write_atomically(arguments.html, render())
    return 0


def _row(counted: CountedRow) -> dict[str, object]:
    from epcore.audit.compare import BILLION, MILLION, printed_value

    return {
        "model": counted.row.model,
        "ablation": counted.row.ablation,
        "params": counted.parameters,
        "flops": counted.flops,
        "paper_params": printed_value(counted.row.parameters, MILLION),
        "paper_flops": printed_value(counted.row.flops, BILLION),
        "params_match": counted.parameters_match,
        "flops_match": counted.flops_match,
    }
