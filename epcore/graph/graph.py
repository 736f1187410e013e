"""A network as data: nodes in the order they run, each naming its operator, its inputs and its parameters.

One graph serves everything: it is executed (`epcore.network`), differentiated (`epcore.tape`), counted (`epcore.audit`),
compiled (`epcore.inference`) and exported, so whatever is counted is the very network that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from epcore.graph.schedule import needed
from epcore.op import Cost
from epcore.ops import OPS
from epcore.shapes import Shape

INPUT = "input"


@dataclass(frozen=True)
class Parameter:
    """Shape of one array, how it starts (`epcore.initializers`) and whether a gradient step may change it."""

    shape: Shape
    initializer: str
    trainable: bool = True


@dataclass(frozen=True)
class Node:
    """One operator call: `OPS[op].forward(*inputs, *parameters, **attributes)`.

    inputs are names of earlier nodes (or "input"), parameters are keys of `Network.parameters`, None for one left out.
    stage is the part of the network the node belongs to, as the paper's Table 2 names it.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    parameters: tuple[str | None, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stage: str = ""

    @property
    def identity_at_inference(self) -> bool:
        """Whether the node gives its input as it is, and costs nothing, unless the network is in training."""
        return OPS[self.op].identity_at_inference


@dataclass(frozen=True)
class Graph:
    """input_shape (H,W,C); nodes and parameters by name, in order; outputs: label -> node."""

    input_shape: Shape
    nodes: Mapping[str, Node]
    parameters: Mapping[str, Parameter]
    outputs: Mapping[str, str]

    def shapes(self, batch: int = 1, input_shape: Shape | None = None) -> dict[str, Shape]:
        """Shape of the input and of every node's output, without allocating anything. `input_shape` overrides (H,W,C)."""
        shapes: dict[str, Shape] = {INPUT: (batch, *(input_shape or self.input_shape))}
        for node in self.nodes.values():
            shapes[node.name] = OPS[node.op].output_shape(*self.argument_shapes(node, shapes), **node.attributes)
        return shapes

    def costs(self, batch: int = 1, input_shape: Shape | None = None) -> dict[str, Cost]:
        """Exact work of every node at inference."""
        shapes = self.shapes(batch, input_shape)
        return {
            node.name: Cost()
            if node.identity_at_inference
            else OPS[node.op].cost(*self.argument_shapes(node, shapes), **node.attributes)
            for node in self.nodes.values()
        }

    def argument_shapes(self, node: Node, shapes: Mapping[str, Shape]) -> list[Shape | None]:
        """Shapes of everything the node's operator takes, in order."""
        arguments: list[Shape | None] = [shapes[name] for name in node.inputs]
        if node.identity_at_inference:
            arguments.append((shapes[node.inputs[0]][0], 1, 1, 1))  # the mask, drawn at run time
        return arguments + [None if name is None else self.parameters[name].shape for name in node.parameters]

    def pruned(self, *labels: str) -> Graph:
        """The part of the graph that the named outputs need, in the same order."""
        outputs = {label: self.outputs[label] for label in labels}
        nodes = {node.name: node for node in needed(self.nodes.values(), outputs.values())}
        used = {name for node in nodes.values() for name in node.parameters}
        return Graph(
            self.input_shape,
            nodes,
            {name: parameter for name, parameter in self.parameters.items() if name in used},
            outputs,
        )
