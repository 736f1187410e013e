"""From the graph to steps: batch norms folded into weights, activations and residual sums taken into the layer before.

    conv -> batch norm -> activation -> (drop-connect) -> sum       one step
    depthwise -> batch norm -> activation -> SE -> project          a depthwise step that also sums its rows, a gate, and a
                                                                    projection whose weights the gate scales

Batch norms are folded by `epcore.graph.passes`, in double; whoever lays weights out rounds them, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from epcore.base.arrays import Array
from epcore.graph import INPUT, Graph, Node
from epcore.graph.passes import at_inference, fold_batch_norms
from epcore.inference.step import Activation, Convolution, NoPlanError, Step
from epcore.inference.steps import DEFINITIONS
from epcore.inference.steps.dense import Dense
from epcore.inference.steps.depthwise import Depthwise
from epcore.inference.steps.gate import Gate
from epcore.inference.steps.pointwise import Pointwise
from epcore.inference.steps.pool import Pool
from epcore.ops.eswish import BETA


def fuse(graph: Graph, parameters: Mapping[str, Array]) -> list[Step]:
    """The steps of a graph in the order they run. Raises ValueError, naming the layer, for an operator that is none."""
    return Fuser(graph, parameters).steps()


class Fuser:
    """A graph on its way to steps: what definitions of steps ask when they take nodes from it."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Array]) -> None:
        self.given = graph
        self.graph, self.parameters = fold_batch_norms(at_inference(graph), parameters)
        self.readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes.values():
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.seen: set[str] = {INPUT}

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        fusions = {"conv2d": _conv2d, "depthwise_conv2d": _depthwise}
        for each in DEFINITIONS:
            fusions |= each.fusions
        for node in self.graph.nodes.values():
            if node.name not in self.seen:
                if node.op not in fusions:
                    raise NoPlanError(
                        f"compile: {node.name} ({node.op}) stands where plans cannot take it: run the model itself"
                    )
                steps += fusions[node.op](self, node)
        _refuse_pictures_elsewhere(steps, self.graph.outputs)
        return steps

    def arrays(self, node: Node) -> list[Any]:
        """Its parameters in double, None for those it has not."""
        return [None if name is None else np.asarray(self.parameters[name], np.float64) for name in node.parameters]

    def names(self, nodes: list[Node]) -> tuple[str, ...]:
        """Names of the given nodes that became these: those before them that are gone, and themselves."""
        return tuple(name for node in nodes for name in self._given(node.name))

    def _given(self, name: str) -> list[str]:
        gone = [each for each in self.given.nodes[name].inputs if each != INPUT and each not in self.graph.nodes]
        return [*(before for each in gone for before in self._given(each)), name]

    def next(self, node: Node, *ops: str) -> Node | None:
        """The only reader of a node, if it is one of these operators and can follow at once."""
        readers = self.readers.get(node.name, [])
        if len(readers) != 1 or readers[0].op not in ops or node.name in self.graph.outputs.values():
            return None
        reader = readers[0]
        if any(name not in self.seen and name != node.name for name in reader.inputs):  # a sum with something still to come
            return None
        return reader

    def convolution(self, node: Node, activations: tuple[str, ...]) -> tuple[dict[str, Any], list[Node]]:
        """The fields that all convolutions have, and the nodes that are in them so far."""
        weights, bias = (*self.arrays(node), None)[:2]
        channels = weights.shape[2] if node.op == "conv_transpose2d" else weights.shape[-1]
        nodes, activation = [node], Activation()
        self.seen.add(node.name)
        if following := self.next(node, *activations):
            nodes.append(following)
            activation = self.activation(following)
            self.seen.add(following.name)
        fields = {
            "weights": weights,
            "bias": np.zeros(channels) if bias is None else bias,
            "stride": node.attributes["stride"],
            "activation": activation,
        }
        return fields, nodes

    def alone(self, node: Node) -> dict[str, Any]:
        """The fields that all steps have, for one that is this node alone."""
        self.seen.add(node.name)
        return {"inputs": tuple(node.inputs), "output": node.name, "nodes": self.names([node])}

    def activation(self, node: Node) -> Activation:
        """What an activation's node computes."""
        arrays = self.arrays(node)
        return _activation(node.op, node.attributes, arrays[0] if arrays else None)


def _activation(op: str, attributes: Mapping[str, Any], alpha: np.ndarray | None = None) -> Activation:
    if op == "eswish":
        return Activation(op, float(attributes.get("beta", BETA)))
    if op == "relu":
        maximum = attributes.get("maximum")
        return Activation(op, float("inf") if maximum is None else float(maximum))
    return Activation(op, 1.0, alpha)


_BY_FACTOR, _BY_CHANNEL = ("swish", "eswish", "relu"), ("prelu",)


def _conv2d(fuser: Fuser, node: Node) -> list[Step]:
    return [_dense(fuser, node)]


def _dense(fuser: Fuser, node: Node, gate: str | None = None) -> Convolution:
    fields, nodes = fuser.convolution(node, _BY_FACTOR + _BY_CHANNEL)
    inputs, weights = tuple(node.inputs), fields["weights"]
    if weights.shape[:2] != (1, 1) or node.attributes["stride"] != 1 or inputs == (INPUT,):
        return Dense(inputs=inputs, output=nodes[-1].name, nodes=fuser.names(nodes), **fields)
    residual = None
    if len(nodes) == 1 and (following := fuser.next(node, "add")):
        (residual,) = (name for name in following.inputs if name != node.name)
        nodes.append(following)
        fuser.seen.add(following.name)
    return Pointwise(
        inputs=inputs, output=nodes[-1].name, nodes=fuser.names(nodes), residual=residual, gate=gate,
        **(fields | {"weights": weights[0, 0]}),
    )  # fmt: skip


def _depthwise(fuser: Fuser, node: Node) -> list[Step]:
    """And the gate and projection after it, where there is a squeeze-and-excitation."""
    fields, nodes = fuser.convolution(node, _BY_FACTOR)
    step = Depthwise(inputs=tuple(node.inputs), output=nodes[-1].name, nodes=fuser.names(nodes), **fields)
    excite = fuser.next(nodes[-1], "squeeze_excite")
    if excite is None:
        return [step]
    project = fuser.next(excite, "conv2d")
    if project is None:
        raise NoPlanError(f"compile: {excite.name} is not followed by a projection: run the model itself")
    reduce, reduce_bias, expand, expand_bias = fuser.arrays(excite)
    fuser.seen.add(excite.name)
    gate = Gate(
        inputs=(step.output,), output=excite.name, nodes=(excite.name,), reduce=reduce[0, 0].T, reduce_bias=reduce_bias,
        expand=expand[0, 0], expand_bias=expand_bias, activation=_activation(excite.attributes["activation"], {}),
    )  # fmt: skip
    projection = replace(_dense(fuser, project, gate=excite.name), inputs=(step.output,))
    if not isinstance(projection, Pointwise):
        raise NoPlanError(f"compile: {excite.name} is not followed by a projection: run the model itself")
    return [replace(step, summed=True), gate, projection]


def _refuse_pictures_elsewhere(steps: list[Step], outputs: Mapping[str, str]) -> None:
    """The picture has no place in the arena but the frames of dense convolutions; its half is read as they are filled."""
    pictures = {INPUT}
    for step in steps:
        halved = isinstance(step, Pool) and step.inputs == (INPUT,) and not step.largest and step.size == 2
        if halved:
            pictures.add(step.output)
        elif not pictures.isdisjoint(step.reads) and not (isinstance(step, Dense) and step.reads == step.inputs):
            raise NoPlanError(
                f"compile: {step.nodes[0]} ({step.operator}) reads the picture itself; plans read it in dense convolutions "
                "only: run the model itself"
            )
    for label, name in outputs.items():
        if name in pictures:
            raise NoPlanError(f"compile: the output {label} is the picture itself, or its half: run the model itself")
