"""`epcore audit`: every number the paper prints about its networks, counted from the graphs that run, beside the paper's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from epcore.commands.console import add_json, add_output
from epcore.commands.model import names
from epcore.commands.result import Content, Result
from epcore.models.variants import NETWORK_NAMES, build_network, network_name

if TYPE_CHECKING:
    from epcore.audit.compare import CountedRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser, "the rows of the tables, and what --time measured,")
    add_output(parser, "--html", help="write everything as a page with charts, in one file")
    parser.add_argument("--layers", metavar="NAME", help=f"every layer of one network: {names(NETWORK_NAMES)}")
    parser.add_argument("--time", action="store_true", help="with --layers: its plan on this CPU, milliseconds by stage")
    parser.add_argument("--memory", action="store_true", help="bytes of parameters, inference, plans and a training step")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.audit.compare import count_rows
    from epcore.audit.summary import count_memory
    from epcore.audit.text import memory_text, tables_text

    if arguments.time and not arguments.layers:
        raise ValueError("--time measures one network: name it with --layers")
    layers = _layers(arguments.layers) if arguments.layers else ""
    rows = count_rows()
    report: dict[str, object] = {"rows": [_row(counted) for counted in rows]}
    if arguments.time:
        times, report["time"] = _time(arguments.layers)
        text = f"{layers}\n\n{times}"
    elif layers:
        text = layers
    elif arguments.memory:
        text = memory_text(count_memory())
    else:
        text = tables_text(rows)
    files: dict[str, Content] = {}
    if arguments.html:
        from epcore.audit.page import render

        files[arguments.html] = render()
    return Result(text, report, files=files)


def _layers(name: str) -> str:
    from epcore.audit.layers import count_layers
    from epcore.audit.summary import MODELS, find_row
    from epcore.audit.text import layers_text

    name = network_name(name)
    return layers_text(name, count_layers(find_row(name).graph() if name in MODELS else build_network(name).graph))


def _time(name: str) -> tuple[str, dict[str, object]]:
    from epcore.audit.text import stages_text
    from epcore.audit.timing import time_stages
    from epcore.threads import get_threads

    name = network_name(name)
    stages = time_stages(build_network(name))
    report = {"model": name, "threads": get_threads(), "stages": [vars(each) for each in stages]}
    return stages_text(name, stages, get_threads()), report


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
