"""Part of a network, from values that are known, with some layers computed otherwise: what a hypothesis about a port needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from epcore.graph import INPUT, Graph, Node
from epcore.graph.schedule import needed, schedule, walk
from epcore.ops import OPS

Arrays = dict[str, np.ndarray]
Forward = Callable[..., np.ndarray]  # (*arrays, **attributes) -> y, as an operator's forward without what it saves


@dataclass(frozen=True)
class Setting:
    """A network in one of its possible states: as it is, or as a mistake would leave it.

    parameters and x in float64. otherwise: layer -> what is computed in place of its operator.
    """

    graph: Graph
    parameters: Mapping[str, np.ndarray]
    x: np.ndarray
    training: bool = False
    otherwise: Mapping[str, Forward] = field(default_factory=dict)

    def computing(self, forwards: Mapping[str, Forward]) -> Setting:
        return replace(self, otherwise={**self.otherwise, **forwards})

    def rewired(self, nodes: Iterable[Node]) -> Setting:
        """With these nodes in the place of those of the same name; new ones come before the first of them."""
        given = {node.name: node for node in nodes}
        added = [node for name, node in given.items() if name not in self.graph.nodes]
        sequence: dict[str, Node] = {}
        for name, node in self.graph.nodes.items():
            if name in given and added:
                sequence |= {new.name: new for new in added}
                added = []
            sequence[name] = given.get(name, node)
        return replace(self, graph=replace(self.graph, nodes=sequence))

    def needed(self, wanted: Iterable[str], known: Iterable[str] = ()) -> list[Node]:
        """The nodes that have to run, in order, to get the wanted ones from the known ones and the input."""
        return needed(self.graph.nodes.values(), wanted, known)

    def evaluate(self, wanted: Iterable[str], known: Mapping[str, np.ndarray] | None = None) -> Arrays:
        """The wanted nodes' outputs, N,H,W,C. Values are let go after their last use."""
        wanted, known = list(wanted), dict(known or {})
        steps = schedule(self.needed(wanted, known))
        with np.errstate(all="ignore"):  # a mistake may well overflow
            values = walk(steps, {**known, INPUT: self.x}, self.layer, keep={*wanted, *known})
        return {name: values[name] for name in wanted}

    def layer(self, node: Node, inputs: list[np.ndarray]) -> np.ndarray:
        if node.identity_at_inference and node.name not in self.otherwise:
            return inputs[0]
        arrays = [*inputs, *self.parameters_of(node)]
        attributes = self.attributes_of(node)
        if node.name in self.otherwise:
            return self.otherwise[node.name](*arrays, **attributes)
        y: np.ndarray = OPS[node.op].forward(*arrays, **attributes)[0]
        return y

    def parameters_of(self, node: Node) -> list[np.ndarray | None]:
        return [None if name is None else self.parameters[name] for name in node.parameters]

    def attributes_of(self, node: Node) -> dict[str, Any]:
        mode = {"training": self.training} if OPS[node.op].batch_statistics else {}
        return {**node.attributes, **mode}
