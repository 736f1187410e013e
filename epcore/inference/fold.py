"""From the graph to fused layers: batch norms folded into weights, activations and residual sums taken into the layer before.

    conv -> batch norm -> activation -> (drop-connect) -> sum       one layer
    depthwise -> batch norm -> activation -> SE -> project          a depthwise layer that also sums its rows, a gate, and a
                                                                    projection whose weights the gate scales

Folding: with s = gamma / sqrt(variance + epsilon), batch norm after a convolution is a convolution with w * s and
b * s + beta - mean * s. It is done in double and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.backend import Array
from epcore.graph import INPUT, Graph, Node

if TYPE_CHECKING:
    from epcore.inference.bands import Band

CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv_transpose2d")
ACTIVATIONS = ("swish", "eswish", "relu")


@dataclass
class Gate:
    """Squeeze-and-excitation: weights (HIDDEN, C) and (HIDDEN, C), biases, hidden activation ("swish", "eswish", "relu")."""

    reduce: np.ndarray
    reduce_bias: np.ndarray
    expand: np.ndarray
    expand_bias: np.ndarray
    activation: str


@dataclass
class Layer:
    """One fused layer. inputs and output are node names; nodes lists what was fused, for counting.

    op: conv2d, depthwise_conv2d, conv_transpose2d, gate, add, concat or avg_pool. A gate reads the sums of the depthwise layer
    inputs[0]; a conv2d with `gated` has its weights scaled by the gate of that name. A depthwise layer with `band` computes the
    expansion before it itself (`epcore.inference.bands`); inputs and nodes are then those of both.
    """

    op: str
    inputs: list[str]
    output: str
    nodes: list[str] = field(default_factory=list)
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    stride: int = 1
    activation: str = ""
    factor: float = 1.0  # of E-swish, or the cap of ReLU
    residual: str | None = None
    gate: Gate | None = None
    gated: str | None = None
    band: Band | None = None

    @property
    def pointwise(self) -> bool:
        """Whether it is a 1x1 convolution of every pixel."""
        return self.op == "conv2d" and self.weights is not None and self.weights.shape[0] == 1 and self.stride == 1


def fold(graph: Graph, parameters: dict[str, Array]) -> list[Layer]:
    """The fused layers of a graph in the order they run. Raises ValueError for an operator plans do not know."""
    return _Folder(graph, parameters).layers()


def fold_batch_norm(
    op: str, w: np.ndarray, bias: np.ndarray, batch_norm: Sequence[np.ndarray], epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a convolution with the batch norm after it. batch_norm: gamma, beta, mean, variance."""
    gamma, beta, mean, variance = batch_norm
    scale = gamma / np.sqrt(variance + epsilon)
    return w * (scale[:, None] if op == "conv_transpose2d" else scale), bias * scale + beta - mean * scale


class _Folder:
    def __init__(self, graph: Graph, parameters: dict[str, Array]) -> None:
        self.graph, self.parameters = graph, parameters
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes.values():
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.alias: dict[str, str] = {}  # drop-connect is its input
        self.seen: set[str] = {INPUT}

    def layers(self) -> list[Layer]:
        layers: list[Layer] = []
        for node in self.graph.nodes.values():
            if node.name not in self.seen:
                layers += self._layer(node)
        return layers

    def _layer(self, node: Node) -> list[Layer]:
        inputs = [self._name(name) for name in node.inputs]
        if node.op in CONVOLUTIONS:
            layer = self._convolution(node, inputs)
            return [layer, *self._squeeze_excite(layer)]
        self.seen.add(node.name)
        if node.op == "drop_connect":
            self.alias[node.name] = inputs[0]
            return []
        if node.op in ("add", "concat") or (node.op == "avg_pool" and inputs == [INPUT] and node.attributes["size"] == 2):
            return [Layer(node.op, inputs, node.name, [node.name])]
        raise ValueError(f"compile: {node.name} ({node.op}) stands where plans cannot take it: run the model itself")

    def _convolution(self, node: Node, inputs: list[str]) -> Layer:
        w, b = (*self._arrays(node.parameters), None)[:2]
        channels = w.shape[2] if node.op == "conv_transpose2d" else w.shape[-1]
        bias = np.zeros(channels) if b is None else b
        nodes = [node]
        if following := self._next(nodes, "batch_norm"):
            w, bias = fold_batch_norm(node.op, w, bias, self._arrays(following.parameters), following.attributes["epsilon"])
        layer = Layer(node.op, inputs, node.name, weights=w, bias=bias, stride=node.attributes["stride"])
        if following := self._next(nodes, *ACTIVATIONS):
            layer.activation = following.op
            layer.factor = _factor(following.op, following.attributes)
        if node.op == "conv2d" and w.shape[0] == 1 and not layer.activation:
            self._next(nodes, "drop_connect")
            if following := self._next(nodes, "add"):
                (layer.residual,) = (self._name(name) for name in following.inputs if name != nodes[-2].name)
        layer.nodes = [each.name for each in nodes]
        layer.output = nodes[-1].name
        self.seen.update(layer.nodes)
        return layer

    def _squeeze_excite(self, layer: Layer) -> list[Layer]:
        """Gate and projection after a depthwise layer, where there is an SE."""
        nodes = [self.graph.nodes[layer.output]]
        node = self._next(nodes, "squeeze_excite") if layer.op == "depthwise_conv2d" else None
        if node is None:
            return []
        project = self._next(list(nodes), "conv2d")
        if project is None:
            raise ValueError(f"compile: {node.name} is not followed by a projection: run the model itself")
        reduce, reduce_bias, expand, expand_bias = self._arrays(node.parameters)
        gate = Gate(reduce[0, 0].T, reduce_bias, expand[0, 0], expand_bias, node.attributes["activation"])
        self.seen.add(node.name)
        projection = self._convolution(project, [layer.output])
        projection.gated = node.name
        factor = _factor(gate.activation, {})
        return [Layer("gate", [layer.output], node.name, [node.name], gate=gate, factor=factor), projection]

    def _next(self, nodes: list[Node], *ops: str) -> Node | None:
        """The only reader of the last node, if it is one of these operators and can follow at once; appended to nodes."""
        last = nodes[-1].name
        readers = self.readers.get(last, [])
        if len(readers) != 1 or readers[0].op not in ops or last in self.graph.outputs.values():
            return None
        reader = readers[0]
        if any(name not in self.seen and name != last for name in reader.inputs):  # a sum with something still to come
            return None
        nodes.append(reader)
        return reader

    def _name(self, name: str) -> str:
        return self.alias.get(name, name)

    def _arrays(self, names: tuple[str | None, ...]) -> list[Any]:
        return [None if name is None else np.asarray(self.parameters[name], np.float64) for name in names]


def _factor(op: str, attributes: Any) -> float:
    if op == "eswish":
        return float(attributes.get("beta", 1.25))
    if op == "relu":
        maximum = attributes.get("maximum")
        return float("inf") if maximum is None else float(maximum)
    return 1.0
