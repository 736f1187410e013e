"""Counting a graph: parameters, and the work of a forward pass, a backward pass and a training step.

Nothing is allocated and nothing runs: shapes are walked, so the largest network counts in milliseconds. What is counted is
the very graph that `epcore.network` executes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from epcore.audit.conventions import CONVENTIONS, Convention
from epcore.graph import Graph
from epcore.graph.passes import at_inference
from epcore.op import Cost
from epcore.ops import OPS, mse
from epcore.shapes import Shape


@dataclass(frozen=True)
class Work:
    """Operations of one training step without the optimiser."""

    forward: int
    backward: int

    @property
    def step(self) -> int:
        return self.forward + self.backward


def find_convention(name: str) -> Convention:
    """Raises ValueError for an unknown name."""
    if name not in CONVENTIONS:
        raise ValueError(f"unknown counting convention {name!r}: expected one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def count_parameters(graph: Graph) -> int:
    """Elements of every array the graph has, moving statistics included, as the paper counts."""
    return sum(prod(parameter.shape) for parameter in graph.parameters.values())


def count_forward(graph: Graph, convention: str = "tf_profiler", *, batch: int = 1, input_shape: Shape | None = None) -> int:
    """Work of one forward pass at inference. input_shape (H,W,C) overrides the graph's."""
    rule = find_convention(convention)
    return sum(rule.count_forward(cost) for cost in graph.costs(batch, input_shape).values())


def trainable_parameters(graph: Graph, frozen: tuple[str, ...] = ()) -> set[str]:
    """Names of the parameters that a training step changes when the parts with these prefixes are frozen."""
    return {name for name, spec in graph.parameters.items() if spec.trainable and not name.startswith(frozen)}


def count_training(
    graph: Graph,
    convention: str = "flops",
    *,
    frozen: tuple[str, ...] = ("upscale",),
    batch: int = 1,
    input_shape: Shape | None = None,
) -> Work:
    """Work of one training step of all outputs: forward, squared errors, backward. The optimiser is not included.

    Only gradients that the tape asks for are counted: none for the picture, none for frozen parameters, none for what lies
    before the first trainable parameter. frozen: prefixes, as for `Network.freeze`; frozen batch norms use their running
    statistics.
    """
    rule = find_convention(convention)
    graph = at_inference(graph, frozen)
    trainable = trainable_parameters(graph, frozen)
    shapes = graph.shapes(batch, input_shape)
    forward = backward = 0
    needs_gradient = dict.fromkeys(shapes, False)
    for node in graph.nodes.values():
        inputs = [needs_gradient[name] for name in node.inputs]
        parameters = [name in trainable for name in node.parameters]
        needs_gradient[node.name] = any(inputs) or any(parameters)
        cost = OPS[node.op].cost(*graph.argument_shapes(node, shapes), **node.attributes)
        statistics = prod(shapes[node.name]) if OPS[node.op].batch_statistics and not node.name.startswith(frozen) else 0
        forward += rule.count_forward(cost) + rule.statistics_forward * statistics
        if needs_gradient[node.name]:
            backward += rule.count_backward(_wanted(cost, node.op, inputs, parameters)) + rule.statistics_backward * statistics
    for name in graph.outputs.values():
        loss = mse.cost(shapes[name], shapes[name])
        forward += rule.count_forward(loss)
        backward += rule.count_backward(loss) if needs_gradient[name] else 0
    return Work(forward, backward)


def _wanted(cost: Cost, op: str, inputs: list[bool], parameters: list[bool]) -> Cost:
    """The backward cost without what a selective operator leaves out: dx and dw are half of its MACs each."""
    if not OPS[op].selective:
        return cost
    macs = cost.backward_macs // 2 * (inputs[0] + parameters[0])
    bias = cost.backward_elementwise if len(parameters) > 1 and parameters[1] else {}
    return replace(cost, backward_macs=macs, backward_elementwise=bias)
