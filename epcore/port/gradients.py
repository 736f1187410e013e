"""Gradients of a port, from the loss backwards: the first operator whose backward pass is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from epcore.graph import INPUT, Graph
from epcore.port.compare import Difference, compare, tolerance
from epcore.port.setting import Arrays


@dataclass(frozen=True)
class GradientDivergence:
    """name: of the layer or parameter whose gradient is wrong. blame: whose backward pass to look at. cause: if known."""

    name: str
    difference: Difference
    blame: str
    cause: str


def compare_gradients(
    graph: Graph, port: Arrays, right: Arrays, rounding: dict[str, float], relative: float | None
) -> tuple[list[Difference], GradientDivergence | None]:
    """port, right, rounding: by the names of the vectors' file ("layer_gradients/...", "parameter_gradients/...").

    Compared in the order the backward pass makes them; returns those that agree and the first that does not.
    """
    agreeing: list[Difference] = []
    for key in _backward_order(graph):
        if key not in port:
            continue
        limit = tolerance(right[key], rounding.get(key, 0.0), port[key].dtype, relative)
        difference = compare(key, port[key], right[key], limit)
        if not difference.agrees:
            return agreeing, GradientDivergence(key, difference, _blame(graph, key), _cause(port[key], right[key], limit))
        agreeing.append(difference)
    return agreeing, None


def _backward_order(graph: Graph) -> list[str]:
    """The gradient of a layer's output comes before those of its parameters, both before what the layer read."""
    order = []
    for node in reversed(list(graph.nodes.values())):
        order.append(f"layer_gradients/{node.name}")
        order += [f"parameter_gradients/{name}" for name in node.parameters if name is not None]
    return [*order, f"layer_gradients/{INPUT}"]


def _blame(graph: Graph, key: str) -> str:
    kind, _, name = key.partition("/")
    if kind == "parameter_gradients":
        node = next(node for node in graph.nodes.values() if name in node.parameters)
        return f"the backward pass of {node.name} ({node.op}) with respect to {name.rpartition('/')[2]}"
    readers = [f"{node.name} ({node.op})" for node in graph.nodes.values() if name in node.inputs]
    if not readers:
        return "the gradient of the loss: dL/d(output) is the output's direction"
    several = "; gradients of several readers are added" if len(readers) > 1 else ""
    return f"the backward pass, with respect to its input, of {', '.join(readers)}{several}"


def _cause(port: np.ndarray, right: np.ndarray, limit: float) -> str:
    """What a common mistake would give; empty if it is none of them."""
    port = port.astype(np.float64)
    if not np.isfinite(port).all():
        return ""
    candidates = {"the sign is wrong": -right, "it is zero": np.zeros_like(right)}
    factor = float((port * right).sum() / max(float(np.square(right).sum()), 1e-300))
    candidates[f"it is {factor:.6g} times the right one"] = factor * right
    if right.ndim >= 3 and right.shape[0] == right.shape[1]:
        candidates["height and width of the kernel are exchanged"] = right.swapaxes(0, 1)
        candidates["the kernel's gradient is turned by 180 degrees"] = right[::-1, ::-1]
    if right.ndim == 4:
        for axis, direction in ((1, "height"), (2, "width")):
            for shift in (-1, 1):
                candidates[f"it is shifted by one along the {direction}"] = np.roll(right, shift, axis)
    for cause, wrong in candidates.items():
        if wrong.any() == right.any() and np.abs(port - wrong).max() <= limit * max(1.0, abs(factor)):
            return cause
        if not wrong.any() and not port.any():
            return cause
    return ""
