"""The same network, from the same graph, in PyTorch: channels-last, autograd, batch statistics, an SGD step.

One function of `torch.nn.functional` for each operator, or for each of its steps, on epcore's own parameters. Nothing is left
out and nothing is done twice: what PyTorch offers in place (the optimiser) is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from epcore.graph import INPUT, Node
from epcore.graph.schedule import schedule, walk
from epcore.network import Network
from epcore.ops import OPS
from epcore.ops.eswish import BETA
from epcore.shapes import kernel_to_nchw, same_padding


def to_torch(array: np.ndarray) -> torch.Tensor:
    """A parameter as PyTorch orders it: kernels (Cout,Cin,kh,kw), depthwise (C,1,kh,kw), transposed (Cin,Cout,kh,kw)."""
    tensor = torch.from_numpy((kernel_to_nchw(array) if array.ndim > 1 else array).copy())
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


class Twin:
    """`step(x, targets)` does what a training step of epcore does; x (N,H,W,3), targets by output label (N,h,w,C)."""

    def __init__(self, model: Network, rate: float) -> None:
        self.model = model
        self.parameters = {name: to_torch(array) for name, array in model.parameters.items()}
        trainable = [self.parameters[name].requires_grad_() for name in model.trainable()]
        self.optimiser = torch.optim.SGD(trainable, rate)

    def step(self, x: np.ndarray, targets: Mapping[str, np.ndarray]) -> float:
        outputs = self.forward(x)
        loss = sum(
            (F.mse_loss(outputs[label], torch.from_numpy(target).permute(0, 3, 1, 2)) for label, target in targets.items()),
            start=torch.zeros(()),
        )
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def forward(self, x: np.ndarray) -> dict[str, torch.Tensor]:
        def call(node: Node, inputs: list[torch.Tensor]) -> torch.Tensor:
            parameters = [None if name is None else self.parameters[name] for name in node.parameters]
            return visit(node, inputs, parameters, self.model.is_frozen(node.name))

        graph, start = self.model.graph, {INPUT: torch.from_numpy(x).permute(0, 3, 1, 2)}
        values = walk(schedule(graph.nodes.values()), start, call, keep=graph.outputs.values())
        return {label: values[name] for label, name in graph.outputs.items()}


def convolve(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, stride: int, groups: int) -> torch.Tensor:
    (top, bottom), (left, right) = (same_padding(n, k, stride) for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    if (top, left) == (bottom, right):
        return F.conv2d(x, w, b, stride, (top, left), groups=groups)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride, groups=groups)


def visit(node: Node, inputs: list[torch.Tensor], parameters: list[Any], frozen: bool = False) -> torch.Tensor:
    """One node in training mode. Drop-connect draws its mask unless it is given one."""
    if OPS[node.op].batch_statistics:
        gamma, beta, mean, variance = parameters
        return F.batch_norm(inputs[0], mean, variance, gamma, beta, not frozen, 0.01, node.attributes["epsilon"])
    return apply(node.op, [*inputs, *parameters], node.attributes)


def apply(name: str, arrays: Sequence[Any], attributes: Mapping[str, Any]) -> torch.Tensor:
    """An operator on the arrays that its forward takes."""
    op = OPS[name]
    if axes := op.kernel_axes:
        x, w, b = (*arrays, None)[:3]
        if spread := op.spread(x.permute(0, 2, 3, 1).shape, w.permute(2, 3, 1, 0).shape, **attributes):
            return F.conv_transpose2d(x, w, b, spread.stride, spread.start)
        return convolve(x, w, b, attributes["stride"], x.shape[1] if axes.depthwise else 1)
    if steps := op.steps(**attributes):
        values = dict(zip(op.array_names(len(arrays)), arrays, strict=True))
        for step in steps:
            values[step.name] = apply(step.op, [values[given] for given in step.inputs], step.attributes)
        return values["y"]
    if name not in _FUNCTIONS:
        raise ValueError(name)
    return _FUNCTIONS[name](*arrays, **attributes)


def drop_connect(x: torch.Tensor, mask: torch.Tensor | None = None, *, rate: float) -> torch.Tensor:
    if mask is None:
        mask = torch.bernoulli(torch.full((x.shape[0], 1, 1, 1), 1 - rate))
    return x * (mask / (1 - rate))


_FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "swish": F.silu,
    "eswish": lambda x, beta=BETA: F.silu(x) * beta,
    "sigmoid": torch.sigmoid,
    "global_mean": lambda x: x.mean((2, 3), keepdim=True),
    "multiply": torch.mul,
    "drop_connect": drop_connect,
    "add": torch.add,
    "concat": lambda *xs: torch.cat(xs, 1),
    "avg_pool": lambda x, size: F.avg_pool2d(x, size),
}
