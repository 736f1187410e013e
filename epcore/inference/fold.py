"""From the graph to fused layers: batch norms folded into weights, activations and residual sums taken into the layer before.

    conv -> batch norm -> activation -> (drop-connect) -> sum       one layer
    depthwise -> batch norm -> activation -> SE -> project          a depthwise layer that also sums its rows, a gate, and a
                                                                    projection whose weights the gate scales

Batch norms are folded by `epcore.graph.passes`, in double; whoever lays weights out rounds them, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.backend import Array
from epcore.graph import INPUT, Graph, Node
from epcore.graph.passes import CONVOLUTIONS, at_inference, fold_batch_norms

if TYPE_CHECKING:
    from epcore.inference.bands import Band

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
    def reads(self) -> list[str]:
        """Names of all values it takes."""
        return [*self.inputs, *(name for name in (self.residual, self.gated) if name)]

    @property
    def pointwise(self) -> bool:
        """Whether it is a 1x1 convolution of every pixel."""
        return self.op == "conv2d" and self.weights is not None and self.weights.shape[0] == 1 and self.stride == 1


def fold(graph: Graph, parameters: dict[str, Array]) -> list[Layer]:
    """The fused layers of a graph in the order they run. Raises ValueError for an operator plans do not know."""
    return _Folder(graph, parameters).layers()


class _Folder:
    def __init__(self, graph: Graph, parameters: dict[str, Array]) -> None:
        self.given = graph
        self.graph, self.parameters = fold_batch_norms(at_inference(graph), parameters)
        self.readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes.values():
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.seen: set[str] = {INPUT}

    def layers(self) -> list[Layer]:
        layers: list[Layer] = []
        for node in self.graph.nodes.values():
            if node.name not in self.seen:
                layers += self._layer(node)
        return layers

    def _layer(self, node: Node) -> list[Layer]:
        inputs = list(node.inputs)
        if node.op in CONVOLUTIONS:
            layer = self._convolution(node, inputs)
            return [layer, *self._squeeze_excite(layer)]
        self.seen.add(node.name)
        if node.op in ("add", "concat") or (node.op == "avg_pool" and inputs == [INPUT] and node.attributes["size"] == 2):
            return [Layer(node.op, inputs, node.name, [node.name])]
        raise ValueError(f"compile: {node.name} ({node.op}) stands where plans cannot take it: run the model itself")

    def _convolution(self, node: Node, inputs: list[str]) -> Layer:
        w, b = (*self._arrays(node.parameters), None)[:2]
        channels = w.shape[2] if node.op == "conv_transpose2d" else w.shape[-1]
        bias = np.zeros(channels) if b is None else b
        nodes = [node]
        layer = Layer(node.op, inputs, node.name, weights=w, bias=bias, stride=node.attributes["stride"])
        if following := self._next(nodes, *ACTIVATIONS):
            layer.activation = following.op
            layer.factor = _factor(following.op, following.attributes)
        pointwise = node.op == "conv2d" and w.shape[0] == 1 and not layer.activation
        if pointwise and (following := self._next(nodes, "add")):
            (layer.residual,) = (name for name in following.inputs if name != nodes[-2].name)
        layer.nodes = [name for each in nodes for name in self._given(each.name)]
        layer.output = nodes[-1].name
        self.seen.update(each.name for each in nodes)
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

    def _given(self, name: str) -> list[str]:
        """Names of the given nodes that became this one: those before it that are gone, and itself."""
        gone = [each for each in self.given.nodes[name].inputs if each != INPUT and each not in self.graph.nodes]
        return [*(before for each in gone for before in self._given(each)), name]

    def _arrays(self, names: tuple[str | None, ...]) -> list[Any]:
        return [None if name is None else np.asarray(self.parameters[name], np.float64) for name in names]


def _factor(op: str, attributes: Any) -> float:
    if op == "eswish":
        return float(attributes.get("beta", 1.25))
    if op == "relu":
        maximum = attributes.get("maximum")
        return float("inf") if maximum is None else float(maximum)
    return 1.0
