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

CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv_transpose2d")


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
    return w * (scale[:, None] if op == "conv_transpose2d" else scale), bias * scale + beta - mean * scale


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
        before = nodes.get(node.inputs[0]) if node.op == "batch_norm" else None
        if before is None or before.op not in CONVOLUTIONS or readers[before.name] != 1:
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


def split_squeeze_excite(graph: Graph) -> Graph:
    """Squeeze-and-excitation in the steps that are stored, each the output of a node:

    X.se  becomes  X.se/mean -> X.se/reduce -> X.se/hidden -> X.se/expand -> X.se/gate -> X.se (x * gate)
    """
    nodes: dict[str, Node] = {}
    for node in graph.nodes.values():
        for step in _steps(node) if node.op == "squeeze_excite" else [node]:
            nodes[step.name] = step
    return replace(graph, nodes=nodes)


def _steps(node: Node) -> list[Node]:
    (x,), stage = node.inputs, node.stage
    mean, reduced, hidden, expanded, gate = (f"{node.name}/{step}" for step in ("mean", "reduce", "hidden", "expand", "gate"))
    dense = {"stride": 1}
    return [
        Node(mean, "global_mean", (x,), stage=stage),
        Node(reduced, "conv2d", (mean,), node.parameters[:2], dense, stage),
        Node(hidden, node.attributes.get("activation", "swish"), (reduced,), stage=stage),
        Node(expanded, "conv2d", (hidden,), node.parameters[2:], dense, stage),
        Node(gate, "sigmoid", (expanded,), stage=stage),
        Node(node.name, "multiply", (x, gate), stage=stage),
    ]
