"""A network as devices run it: batch norms folded, drop-connect gone, squeeze-and-excitation in the steps that are stored.

Every value that a port rounds or quantises is then the output of a node:

    X.se  becomes  X.se/mean -> X.se/reduce -> X.se/hidden -> X.se/expand -> X.se/gate -> X.se (x * gate)

A folded convolution carries the name of its batch norm, because its output is the batch norm's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.backend import kernel, use_backend
from epcore.graph import INPUT, Node
from epcore.inference.fold import CONVOLUTIONS, fold_batch_norm
from epcore.network import Network

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class DeviceNetwork:
    """nodes by name, in order; parameters float32; outputs: label -> node. source: what it was made of.

    A depthwise convolution may have a bias as its second parameter, which the operator of that name does not know.
    """

    source: Network
    folded: bool
    nodes: dict[str, Node]
    parameters: dict[str, np.ndarray]
    outputs: dict[str, str]

    def schedule(self) -> Iterator[tuple[Node, list[str]]]:
        """Every node with the values that nothing reads after it."""
        last = {INPUT: "", **{name: name for name in self.nodes}}
        last |= {name: node.name for node in self.nodes.values() for name in node.inputs}
        finished: dict[str, list[str]] = {}
        for name, reader in last.items():
            finished.setdefault(reader, []).append(name)
        for node in self.nodes.values():
            yield node, finished.get(node.name, [])

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by label, as `Network.run`."""
        self.source.check_input(x)
        values, outputs = {INPUT: x}, dict[str, np.ndarray]()
        for node, finished in self.schedule():
            y = values[node.name] = compute(node, [values[name] for name in node.inputs], self.parameters)
            outputs |= {label: y for label, name in self.outputs.items() if name == node.name}
            for name in finished:
                del values[name]
        return outputs


def compute(node: Node, inputs: Sequence[np.ndarray], parameters: Arrays) -> np.ndarray:
    """One node's output. Values that are not numbers go through the reference operators: kernels may lose them."""
    arrays: list[Any] = [*inputs, *(None if name is None else parameters[name] for name in node.parameters)]
    bias = arrays.pop() if node.op == "depthwise_conv2d" and len(arrays) > 2 else None
    if all(array is None or np.isfinite(array).all() for array in arrays):
        y = kernel(node.op, *arrays)[0](*arrays, **node.attributes)[0]
    else:
        with use_backend("reference"), np.errstate(all="ignore"):
            y = kernel(node.op, *arrays)[0](*arrays, **node.attributes)[0]
    return y if bias is None else y + bias


def device_network(network: Network, *, folded: bool = True) -> DeviceNetwork:
    """The same maps from simpler nodes. The network itself is left as it is.

    folded: batch norms disappear into the convolutions before them, where nothing else reads those. Raises ValueError for a
    network in training mode, TypeError unless its parameters are NumPy float32.
    """
    if network.training:
        raise ValueError(f"{network.name} is in training mode, its statistics still change: call eval() first")
    for name, array in network.parameters.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            raise TypeError(f"{name} of {network.name} is a {type(array).__name__} of {array.dtype}, expected NumPy float32")
    rewriter = _Rewriter(network, folded)
    for node in network.graph.nodes.values():
        rewriter.take(node)
    outputs = {label: rewriter.alias.get(name, name) for label, name in network.graph.outputs.items()}
    return DeviceNetwork(network, folded, rewriter.nodes, rewriter.arrays, outputs)


class _Rewriter:
    def __init__(self, network: Network, folded: bool) -> None:
        self.given, self.folded = network.parameters, folded
        self.readers = Counter(name for node in network.graph.nodes.values() for name in node.inputs)
        self.readers.update(network.graph.outputs.values())
        self.nodes: dict[str, Node] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.alias: dict[str, str] = {}  # drop-connect is its input

    def take(self, node: Node) -> None:
        inputs = tuple(self.alias.get(name, name) for name in node.inputs)
        before = self.nodes.get(inputs[0])
        if node.op == "drop_connect":
            self.alias[node.name] = inputs[0]
        elif node.op == "squeeze_excite":
            self._squeeze_excite(node, inputs[0])
        elif self.folded and node.op == "batch_norm" and before and self._foldable(before):
            self._fold(node, before)
        else:
            self._add(Node(node.name, node.op, inputs, node.parameters, node.attributes, node.stage))

    def _foldable(self, before: Node) -> bool:
        return before.op in CONVOLUTIONS and self.readers[before.name] == 1

    def _add(self, node: Node) -> None:
        self.nodes[node.name] = node
        for name in node.parameters:
            if name is not None and name not in self.arrays:
                self.arrays[name] = self.given[name]

    def _fold(self, node: Node, before: Node) -> None:
        """In double, rounded once."""
        del self.nodes[before.name]
        kernel_name, bias = (*before.parameters, None)[:2]
        assert kernel_name is not None
        w = np.asarray(self.arrays[kernel_name], np.float64)
        b = np.zeros(1) if bias is None else np.asarray(self.arrays[bias], np.float64)
        batch_norm = [np.asarray(self.given[name], np.float64) for name in node.parameters if name is not None]
        bias = bias or f"{before.name}/bias"
        w, b = fold_batch_norm(before.op, w, b, batch_norm, node.attributes["epsilon"])
        self.arrays[kernel_name], self.arrays[bias] = w.astype(np.float32), b.astype(np.float32)
        self._add(Node(node.name, before.op, before.inputs, (kernel_name, bias), before.attributes, node.stage))

    def _squeeze_excite(self, node: Node, x: str) -> None:
        name, (reduce, reduce_bias, expand, expand_bias) = node.name, node.parameters
        stride = {"stride": 1}
        self._add(Node(f"{name}/mean", "global_mean", (x,), stage=node.stage))
        self._add(Node(f"{name}/reduce", "conv2d", (f"{name}/mean",), (reduce, reduce_bias), stride, node.stage))
        activation = node.attributes.get("activation", "swish")
        self._add(Node(f"{name}/hidden", activation, (f"{name}/reduce",), stage=node.stage))
        self._add(Node(f"{name}/expand", "conv2d", (f"{name}/hidden",), (expand, expand_bias), stride, node.stage))
        self._add(Node(f"{name}/gate", "sigmoid", (f"{name}/expand",), stage=node.stage))
        self._add(Node(name, "multiply", (x, f"{name}/gate"), stage=node.stage))
