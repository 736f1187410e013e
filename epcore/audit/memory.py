"""How many bytes a network holds: parameters, activations at inference, and a training step.

Nothing is allocated. `_Block` stands for an array: it is counted while something refers to it, so the walks below have only to
hold on to blocks as `Network._walk` and `Tape` hold on to arrays. Counted is what passes between operators, and the padded copy
that the CPU kernels make of a dense convolution's input; other scratch memory inside operators is below a percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from epcore.audit.count import trainable_parameters
from epcore.graph import INPUT, Graph, Node
from epcore.graph.passes import at_inference
from epcore.graph.schedule import schedule, walk
from epcore.ops import OPS
from epcore.shapes import Shape

FLOAT32 = 4


class _Meter:
    """live and highest number of bytes."""

    def __init__(self) -> None:
        self.live = self.peak = 0


class _Block:
    """One array."""

    __slots__ = ("meter", "size")

    def __init__(self, meter: _Meter, shape: Shape, itemsize: int = FLOAT32) -> None:
        self.meter, self.size = meter, prod(shape) * itemsize
        meter.live += self.size
        meter.peak = max(meter.peak, meter.live)

    def __del__(self) -> None:
        self.meter.live -= self.size


def parameter_bytes(graph: Graph, itemsize: int = FLOAT32) -> int:
    """Bytes of all arrays, moving statistics included."""
    return itemsize * sum(prod(parameter.shape) for parameter in graph.parameters.values())


def inference_peak(graph: Graph, *, batch: int = 1, input_shape: Shape | None = None) -> int:
    """Most bytes of activations alive at once in `Network.run`, outputs included, without the input x itself."""
    graph = at_inference(graph)
    shapes, meter = graph.shapes(batch, input_shape), _Meter()
    start = {INPUT: _Block(meter, (0,))}
    steps = schedule(graph.nodes.values())
    walk(steps, start, lambda node, _: _call(meter, node, graph, shapes), keep=graph.outputs.values())
    return meter.peak


@dataclass
class _Record:
    node: Node
    held: list[_Block]  # inputs, output and what forward saved


def training_peak(
    graph: Graph,
    losses: Sequence[str] | None = None,
    *,
    frozen: tuple[str, ...] = ("upscale",),
    batch: int = 1,
    input_shape: Shape | None = None,
) -> int:
    """Most bytes alive at once in a recorded step: activations kept for backward, gradients of activations and parameters.

    losses: labels of the outputs that have a squared error, all by default; their targets are the caller's. frozen: prefixes,
    as for `Network.freeze`. The parameters themselves and what the optimiser keeps come on top.
    """
    graph = at_inference(graph, frozen)
    meter, trainable = _Meter(), trainable_parameters(graph, frozen)
    shapes = graph.shapes(batch, input_shape)
    needs_gradient: set[str] = set()
    records: list[_Record] = []

    def record(node: Node, inputs: list[_Block]) -> _Block:
        y = _call(meter, node, graph, shapes)
        if needs_gradient.intersection(node.inputs) or trainable.intersection(node.parameters):
            needs_gradient.add(node.name)
            saved = [_Block(meter, *each) for each in _saved(graph, node, shapes, frozen)]
            records.append(_Record(node, [*inputs, y, *saved]))
        return y

    start = {INPUT: _Block(meter, (0,))}
    outputs = walk(schedule(graph.nodes.values()), start, record, keep=graph.outputs.values())  # the caller still holds them

    gradients: dict[str, _Block] = {}
    for label in reversed(list(losses or graph.outputs)):
        name = graph.outputs[label]
        _collect(gradients, [(name, shapes[name], name in needs_gradient)], [_Block(meter, shapes[name])], meter)
    while records:
        _step_back(records.pop(), gradients, graph, shapes, needs_gradient, trainable, meter)
    del outputs
    return meter.peak


def _step_back(
    record: _Record,
    gradients: dict[str, _Block],
    graph: Graph,
    shapes: dict[str, Shape],
    needs_gradient: set[str],
    trainable: set[str],
    meter: _Meter,
) -> None:
    """`Tape._step_back` in blocks: `new` are the gradients an operator returns, kept or not."""
    node = record.node
    dy = gradients.pop(node.name, None)
    if dy is None:
        return
    op, taken = OPS[node.op], graph.argument_shapes(node, shapes)
    cost = op.cost(*taken, **node.attributes)
    computes = bool(cost.backward_macs or cost.backward_elementwise)
    differentiable = op.differentiable(len(taken))
    scratch = _Block(meter, _padded(node, graph, shapes))
    mask = [None] if node.identity_at_inference else []
    arguments: list[tuple[str, Shape, bool]] = []
    new: list[_Block | None] = []
    for position, (name, shape) in enumerate(zip([*node.inputs, *mask, *node.parameters], taken, strict=True)):
        if name is None or shape is None or position not in differentiable:
            continue
        wanted = name in needs_gradient or name in trainable
        arguments.append((name, shape, wanted))
        if not wanted and op.selective:
            new.append(None)
        else:
            new.append(_Block(meter, shape) if computes else dy)  # what computes nothing hands dy on
    del scratch
    _collect(gradients, arguments, new, meter)


def _collect(
    gradients: dict[str, _Block],
    arguments: Sequence[tuple[str, Shape, bool]],
    new: Sequence[_Block | None],
    meter: _Meter,
) -> None:
    """What an operator returns becomes, or is added to, the gradient of each array that wants one. arguments: name, shape,
    whether it does."""
    for (name, shape, wanted), gradient in zip(arguments, new, strict=True):
        if wanted and gradient is not None:
            gradients[name] = _Block(meter, shape) if name in gradients else gradient


def _call(meter: _Meter, node: Node, graph: Graph, shapes: dict[str, Shape]) -> _Block:
    """The output of one operator; what it needs besides is alive until it returns."""
    scratch = _Block(meter, _padded(node, graph, shapes))
    y = _Block(meter, shapes[node.name])
    del scratch
    return y


def _padded(node: Node, graph: Graph, shapes: dict[str, Shape]) -> Shape:
    """Shape of the padded copy of a dense convolution's input; (0,) where none is made."""
    op, arguments = OPS[node.op], graph.argument_shapes(node, shapes)
    window = op.window(*arguments, **node.attributes)
    if window is None or op.kernel_axes is None or op.kernel_axes.depthwise or window.padded == window.x:
        return (0,)
    return window.padded


def _saved(graph: Graph, node: Node, shapes: dict[str, Shape], frozen: tuple[str, ...]) -> list[tuple[Shape, int]]:
    """(shape, bytes an element) of what forward saves beyond its arguments and its output."""
    op, attributes = OPS[node.op], dict(node.attributes)
    if op.batch_statistics:
        attributes["training"] = not node.name.startswith(frozen)
    return [(kept.shape, kept.itemsize or FLOAT32) for kept in op.keeps(*graph.argument_shapes(node, shapes), **attributes)]
