"""What `print(model)` shows: the stages of a network with output shape, layers, parameters and multiply-accumulates."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from epcore.base.table import Table
from epcore.graph import Graph
from epcore.shapes import Shape


@dataclass
class Stage:
    """Sums over the nodes of one stage; shape is that of its last node at batch 1."""

    shape: Shape = ()
    layers: int = 0
    parameters: int = 0
    macs: int = 0


def stages(graph: Graph) -> dict[str, Stage]:
    """Every stage of the graph in order."""
    shapes, costs = graph.shapes(), graph.costs()
    rows: dict[str, Stage] = {}
    for node in graph.nodes.values():
        row = rows.setdefault(node.stage, Stage())
        row.shape = shapes[node.name]
        row.layers += 1
        row.parameters += sum(prod(graph.parameters[key].shape) for key in node.parameters if key is not None)
        row.macs += costs[node.name].macs
    return rows


def summarize(name: str, graph: Graph) -> str:
    """A text table of the graph at batch 1."""
    H, W, C = graph.input_shape
    table = Table("<36", ">16", ">8", ">12,", ">16,")
    lines = [f"{name}: input {H}x{W}x{C}", table.line("  stage", "output", "layers", "parameters", "MACs")]
    total = Stage()
    for stage, row in stages(graph).items():
        shape = "x".join(str(n) for n in row.shape[1:])
        lines.append(table.line(f"  {stage}", shape, row.layers, row.parameters, row.macs))
        total.layers += row.layers
        total.parameters += row.parameters
        total.macs += row.macs
    lines.append(table.line("  total", "", total.layers, total.parameters, total.macs))
    return "\n".join(lines)
