"""A network as devices run it: batch norms folded, drop-connect gone, squeeze-and-excitation in the steps that are stored.

Every value that a port rounds or quantises is then the output of a node; `epcore.graph.passes` says how they are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.backend import kernel, use_backend
from epcore.graph import INPUT, Node
from epcore.graph.passes import at_inference, fold_batch_norms, split_steps
from epcore.graph.schedule import Schedule, schedule, walk
from epcore.network import Network
from epcore.ops import OPS

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

    def schedule(self) -> Schedule:
        """Every node with the values that nothing reads after it."""
        return schedule(self.nodes.values())

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by label, as `Network.run`."""
        self.source.check_input(x)
        names = self.outputs.values()
        values = walk(self.schedule(), {INPUT: x}, lambda node, inputs: compute(node, inputs, self.parameters), keep=names)
        return {label: values[name] for label, name in self.outputs.items()}


def compute(node: Node, inputs: Sequence[np.ndarray], parameters: Arrays) -> np.ndarray:
    """One node's output. Values that are not numbers go through the reference operators: kernels may lose them."""
    arrays: list[Any] = [*inputs, *(None if name is None else parameters[name] for name in node.parameters)]
    arity = OPS[node.op].arity
    bias = arrays.pop() if arity is not None and len(arrays) > arity else None  # of a folded depthwise convolution
    y: np.ndarray
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
    graph, parameters = at_inference(network.graph), dict(network.parameters)
    if folded:
        graph, parameters = fold_batch_norms(graph, parameters)
    graph = split_steps(graph)
    used = dict.fromkeys(name for node in graph.nodes.values() for name in node.parameters if name is not None)
    rounded = {name: parameters[name].astype(np.float32, copy=False) for name in used}
    return DeviceNetwork(network, folded, dict(graph.nodes), rounded, dict(graph.outputs))
