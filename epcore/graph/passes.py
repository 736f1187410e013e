"""From a graph to a simpler one that gives the same outputs at inference; with parameters, where arrays change.

`Graph.pruned`, the graph that some of the outputs need, is the fourth of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from epcore.graph.graph import Graph, Node, Parameter
from epcore.ops import OPS

CONVOLUTIONS = tuple(name for name, op in OPS.items() if op.kernel_axes)


def at_inference(graph: Graph, prefixes: tuple[str, ...] = ("",)) -> Graph:
    """Without the nodes that are the identity then (drop-connect): whatever reads such a node reads its input.

    prefixes: only in the parts whose nodes' names start so, as for `Network.freeze`: frozen parts of a network in training.
    """
    nodes: dict[str, Node] = {}
    source: dict[str, str] = {}  # the identity is its input
    for node in graph.nodes.values():
        inputs = tuple(source.get(name, name) for name in node.inputs)
        if node.identity_at_inference and node.name.startswith(prefixes):
            source[node.name] = inputs[0]
        else:
            nodes[node.name] = replace(node, inputs=inputs)
    return replace(graph, nodes=nodes, outputs={label: source.get(name, name) for label, name in graph.outputs.items()})


def fold_batch_norm(
    op: str, w: np.ndarray, bias: np.ndarray, batch_norm: Sequence[np.ndarray], epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a convolution with the batch norm after it. batch_norm: gamma, beta, mean, variance.

    With s = gamma / sqrt(variance + epsilon) the batch norm of w x + b is (w s) x + (b s + beta - mean s).
    """
    gamma, beta, mean, variance = batch_norm
    scale = gamma / np.sqrt(variance + epsilon)
    axes = OPS[op].kernel_axes
    assert axes is not None
    along_y = [1] * w.ndim
    along_y[axes.y] = -1
    return w * scale.reshape(along_y), bias * scale + beta - mean * scale


def fold_batch_norms(graph: Graph, parameters: Mapping[str, np.ndarray]) -> tuple[Graph, dict[str, np.ndarray]]:
    """Batch norms disappear into the convolutions before them, where nothing else reads those.

    A folded convolution has the name of its batch norm, because its output is the batch norm's, and parameters of that name in
    float64, for the caller to round once; all others are those given. A depthwise convolution then has a bias as its second
    parameter, which the operator of that name does not know: shapes and costs are those of the graph given.
    """
    readers = Counter(name for node in graph.nodes.values() for name in node.inputs)
    readers.update(graph.outputs.values())
    nodes: dict[str, Node] = {}
    arrays, specs = dict(parameters), dict(graph.parameters)
    for node in graph.nodes.values():
        before = nodes.get(node.inputs[0]) if OPS[node.op].batch_statistics else None
        if before is None or OPS[before.op].kernel_axes is None or readers[before.name] != 1:
            nodes[node.name] = node
            continue
        del nodes[before.name]
        w, b, *_ = (*_in_double(before, arrays), None)
        w, b = fold_batch_norm(
            before.op, w, np.zeros(1) if b is None else b, _in_double(node, arrays), node.attributes["epsilon"]
        )
        keys = f"{node.name}/kernel", f"{node.name}/bias"
        arrays |= dict(zip(keys, (w, b), strict=True))
        specs |= {keys[0]: specs[str(before.parameters[0])], keys[1]: Parameter(b.shape, "zeros")}
        nodes[node.name] = replace(before, name=node.name, parameters=keys, stage=node.stage)
    used = dict.fromkeys(name for node in nodes.values() for name in node.parameters if name is not None)
    folded = replace(graph, nodes=nodes, parameters={name: specs[name] for name in used})
    return folded, {name: arrays[name] for name in used}


def _in_double(node: Node, arrays: Mapping[str, np.ndarray]) -> list[Any]:
    return [None if name is None else np.asarray(arrays[name], np.float64) for name in node.parameters]


def split_steps(graph: Graph) -> Graph:
    """Operators that consist of others (`Op.steps`) in their steps, each the output of a node, the last under the node's name.
    Squeeze-and-excitation becomes

    X.se/mean -> X.se/reduce -> X.se/hidden -> X.se/expand -> X.se/gate -> X.se (x * gate)
    """
    nodes: dict[str, Node] = {}
    for node in graph.nodes.values():
        nodes |= {step.name: step for step in _steps(node)}
    return replace(graph, nodes=nodes)


def _steps(node: Node) -> list[Node]:
    """The node itself where its operator is a simple one."""
    op = OPS[node.op]
    names = op.array_names(len(node.inputs) + len(node.parameters))
    inputs: dict[str, str] = dict(zip(names, node.inputs, strict=False))
    parameters: dict[str, str | None] = dict(zip(names[len(node.inputs) :], node.parameters, strict=False))
    nodes = []
    for step in op.steps(**node.attributes):
        inputs[step.name] = node.name if step.name == "y" else f"{node.name}/{step.name}"
        read = tuple(inputs[name] for name in step.inputs if name in inputs)
        held = tuple(parameters[name] for name in step.inputs if name in parameters)
        nodes.append(Node(inputs[step.name], step.op, read, held, step.attributes, node.stage))
    return nodes or [node]
