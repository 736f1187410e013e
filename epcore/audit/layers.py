"""A network layer by layer: shapes, parameters, work, bytes, arithmetic intensity, receptive field.

Intensity is FLOPs (convention `flops`) over the bytes an operator must move: inputs, parameters and output once, float32. Below
a processor's ratio of FLOP/s to bytes/s, its memory decides the speed.

The receptive field is that of convolutions, pooling and upscaling. Squeeze-and-excitation sees the whole picture through its
means; counting that, every layer behind the first one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from epcore.audit.conventions import CONVENTIONS
from epcore.graph import INPUT, Graph
from epcore.ops import OPS
from epcore.shapes import Shape

FLOAT32 = 4


@dataclass(frozen=True)
class LayerCount:
    """One node at batch 1. share: of the network's MACs. activation_bytes: of its output.
    moved_bytes: inputs, parameters and output once. receptive_field: side, pixels."""

    name: str
    op: str
    stage: str
    inputs: tuple[Shape, ...]
    output: Shape
    parameters: int
    macs: int
    share: float
    flops: int
    activation_bytes: int
    moved_bytes: int
    intensity: float
    receptive_field: int


def count_layers(graph: Graph, *, input_shape: Shape | None = None) -> list[LayerCount]:
    """Every node of the graph in order, at batch 1."""
    shapes, costs = graph.shapes(1, input_shape), graph.costs(1, input_shape)
    total = sum(cost.macs for cost in costs.values())
    fields = receptive_fields(graph, input_shape=input_shape)
    layers = []
    for node in graph.nodes.values():
        parameters = sum(prod(graph.parameters[name].shape) for name in node.parameters if name is not None)
        inputs = tuple(shapes[name] for name in node.inputs)
        moved = FLOAT32 * (sum(map(prod, inputs)) + parameters + prod(shapes[node.name]))
        flops = CONVENTIONS["flops"].count_forward(costs[node.name])
        layers.append(
            LayerCount(
                node.name,
                node.op,
                node.stage,
                inputs,
                shapes[node.name],
                parameters,
                costs[node.name].macs,
                costs[node.name].macs / total if total else 0.0,
                flops,
                FLOAT32 * prod(shapes[node.name]),
                moved,
                flops / moved,
                fields[node.name],
            )
        )
    return layers


def receptive_fields(graph: Graph, *, input_shape: Shape | None = None) -> dict[str, int]:
    """Rows of the picture that a row of each node's output depends on, the border's cut aside.

    An output row i reads the picture's rows from i * jump + low to i * jump + high; every node has its (low, high, jump).
    """
    shapes = graph.shapes(1, input_shape)
    seen: dict[str, tuple[Fraction, Fraction, Fraction]] = {INPUT: (Fraction(0), Fraction(0), Fraction(1))}
    for node in graph.nodes.values():
        jump = seen[node.inputs[0]][2]
        low = min(seen[name][0] for name in node.inputs)
        high = max(seen[name][1] for name in node.inputs)
        arguments = graph.argument_shapes(node, shapes)
        if spread := OPS[node.op].spread(*arguments, **node.attributes):
            kernel, stride, crop = spread.kernel[0], spread.stride, spread.start[0]
            # Row o of phase o % stride reads the rows ceil((o + crop - kernel + 1) / stride) to floor((o + crop) / stride).
            firsts = [-(-(phase + crop - kernel + 1) // stride) - Fraction(phase, stride) for phase in range(stride)]
            lasts = [(phase + crop) // stride - Fraction(phase, stride) for phase in range(stride)]
            widest = max(range(stride), key=lambda phase: lasts[phase] - firsts[phase])
            seen[node.name] = (low + firsts[widest] * jump, high + lasts[widest] * jump, jump / stride)
            continue
        window = OPS[node.op].window(*arguments, **node.attributes)
        kernel, stride, before = (window.kernel[0], window.stride, window.start[0]) if window else (1, 1, 0)
        seen[node.name] = (low - before * jump, high + (kernel - 1 - before) * jump, jump * stride)
    return {name: int(high - low) + 1 for name, (low, high, _) in seen.items()}
