"""`epcore audit`: every number the paper prints about its networks, counted from the graphs that run, beside the paper's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from epcore.commands.console import add_json, add_output
from epcore.commands.result import Content, Result

if TYPE_CHECKING:
    from epcore.audit.compare import CountedRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser, "the rows of the tables")
    add_output(parser, "--html", help="write everything as a page with charts, in one file")
    parser.add_argument("--layers", metavar="VARIANT", help='every layer of one network: RT ... IV, "RT Lite", OpenPose')
    parser.add_argument("--memory", action="store_true", help="bytes of parameters, inference, plans and a training step")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.audit.compare import count_rows
    from epcore.audit.layers import count_layers
    from epcore.audit.summary import count_memory, find_row
    from epcore.audit.text import layers_text, memory_text, tables_text

    layers = count_layers(find_row(arguments.layers).graph()) if arguments.layers else None
    rows = count_rows()
    if layers is not None:
        text = layers_text(find_row(arguments.layers).model, layers)
    elif arguments.memory:
        text = memory_text(count_memory())
    else:
        text = tables_text(rows)
    files: dict[str, Content] = {}
    if arguments.html:
        from epcore.audit.page import render

        files[arguments.html] = render()
    return Result(text, {"rows": [_row(counted) for counted in rows]}, files=files)


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
