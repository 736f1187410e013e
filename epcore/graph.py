"""A network as data: nodes in the order they run, each naming its operator, its inputs and its parameters.

One graph serves everything: it is executed (`epcore.network`), differentiated (`epcore.tape`), counted (`epcore.audit`),
compiled (`epcore.inference`) and exported, so whatever is counted is the very network that runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from epcore.op import Cost
from epcore.ops import OPS
from epcore.ops.batch_norm import EPSILON
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
        """Exact work of every node at inference (drop-connect is the identity there and costs nothing)."""
        shapes = self.shapes(batch, input_shape)
        return {
            node.name: Cost()
            if node.op == "drop_connect"
            else OPS[node.op].cost(*self.argument_shapes(node, shapes), **node.attributes)
            for node in self.nodes.values()
        }

    def argument_shapes(self, node: Node, shapes: Mapping[str, Shape]) -> list[Shape | None]:
        """Shapes of everything the node's operator takes, in order."""
        arguments: list[Shape | None] = [shapes[name] for name in node.inputs]
        if node.op == "drop_connect":
            arguments.append((shapes[node.inputs[0]][0], 1, 1, 1))  # the mask, drawn at run time
        return arguments + [None if name is None else self.parameters[name].shape for name in node.parameters]

    def pruned(self, *labels: str) -> Graph:
        """The part of the graph that the named outputs need, in the same order."""
        wanted = {self.outputs[label] for label in labels}
        for node in reversed(list(self.nodes.values())):
            if node.name in wanted:
                wanted.update(node.inputs)
        nodes = {name: node for name, node in self.nodes.items() if name in wanted}
        used = {name for node in nodes.values() for name in node.parameters}
        return Graph(
            self.input_shape,
            nodes,
            {name: parameter for name, parameter in self.parameters.items() if name in used},
            {label: self.outputs[label] for label in labels},
        )


class GraphBuilder:
    """Writes a graph node by node. Every method returns the name of the node it added, to be passed on as an input."""

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = input_shape
        self.nodes: dict[str, Node] = {}
        self.parameters: dict[str, Parameter] = {}
        self.channels: dict[str, int] = {INPUT: input_shape[2]}
        self.stage = ""

    def graph(self, outputs: Mapping[str, str]) -> Graph:
        return Graph(self.input_shape, self.nodes, self.parameters, dict(outputs))

    def node(
        self,
        name: str,
        op: str,
        inputs: Iterable[str],
        channels: int,
        parameters: Mapping[str, Parameter | None] | None = None,
        **attributes: Any,
    ) -> str:
        if name in self.nodes:
            raise ValueError(f"two nodes are called {name!r}")
        arrays = {key: value for key, value in (parameters or {}).items() if value is not None}
        keys = tuple(key if value is not None else None for key, value in (parameters or {}).items())
        self.parameters.update(arrays)
        self.nodes[name] = Node(name, op, tuple(inputs), keys, attributes, self.stage)
        self.channels[name] = channels
        return name

    def conv2d(
        self, name: str, x: str, channels: int, *, kernel: int = 1, stride: int = 1, bias: bool = False, init: str = "he"
    ) -> str:
        parameters = {
            f"{name}/kernel": Parameter((kernel, kernel, self.channels[x], channels), init),
            f"{name}/bias": Parameter((channels,), "zeros") if bias else None,
        }
        return self.node(name, "conv2d", [x], channels, parameters, stride=stride)

    def depthwise_conv2d(self, name: str, x: str, *, kernel: int, stride: int = 1) -> str:
        C = self.channels[x]
        parameters = {f"{name}/kernel": Parameter((kernel, kernel, C), "he_depthwise")}
        return self.node(name, "depthwise_conv2d", [x], C, parameters, stride=stride)

    def conv_transpose2d(self, name: str, x: str, channels: int, *, kernel: int = 4, stride: int = 2) -> str:
        parameters = {
            f"{name}/kernel": Parameter((kernel, kernel, channels, self.channels[x]), "bilinear"),
            f"{name}/bias": Parameter((channels,), "zeros"),
        }
        return self.node(name, "conv_transpose2d", [x], channels, parameters, stride=stride)

    def batch_norm(self, name: str, x: str) -> str:
        C = self.channels[x]
        parameters = {
            f"{name}/gamma": Parameter((C,), "ones"),
            f"{name}/beta": Parameter((C,), "zeros"),
            f"{name}/moving_mean": Parameter((C,), "zeros", trainable=False),
            f"{name}/moving_variance": Parameter((C,), "ones", trainable=False),
        }
        return self.node(name, "batch_norm", [x], C, parameters, epsilon=EPSILON)

    def squeeze_excite(self, name: str, x: str, *, reduced: int, activation: str) -> str:
        C = self.channels[x]
        parameters = {
            f"{name}_reduce/kernel": Parameter((1, 1, C, reduced), "he"),
            f"{name}_reduce/bias": Parameter((reduced,), "zeros"),
            f"{name}_expand/kernel": Parameter((1, 1, reduced, C), "he"),
            f"{name}_expand/bias": Parameter((C,), "zeros"),
        }
        return self.node(name, "squeeze_excite", [x], C, parameters, activation=activation)

    def activation(self, name: str, x: str, kind: str, **attributes: Any) -> str:
        """kind: an elementwise operator without parameters: swish, eswish, sigmoid, relu."""
        return self.node(name, kind, [x], self.channels[x], **attributes)

    def prelu(self, name: str, x: str) -> str:
        C = self.channels[x]
        return self.node(name, "prelu", [x], C, {f"{name}/alpha": Parameter((C,), "prelu")})

    def max_pool(self, name: str, x: str, *, size: int = 2, stride: int = 2) -> str:
        return self.node(name, "max_pool", [x], self.channels[x], size=size, stride=stride)

    def avg_pool(self, name: str, x: str, *, size: int = 2) -> str:
        return self.node(name, "avg_pool", [x], self.channels[x], size=size)

    def drop_connect(self, name: str, x: str, *, rate: float) -> str:
        return self.node(name, "drop_connect", [x], self.channels[x], rate=rate)

    def add(self, name: str, a: str, b: str) -> str:
        return self.node(name, "add", [a, b], self.channels[a])

    def concat(self, name: str, *xs: str) -> str:
        return self.node(name, "concat", xs, sum(self.channels[x] for x in xs))
