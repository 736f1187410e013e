"""The same network, from the same graph, in PyTorch: channels-last, autograd, batch statistics, an SGD step.

One function of `torch.nn.functional` for each operator, on epcore's own parameters. Nothing is left out and nothing is done
twice: what PyTorch offers in place (the optimiser) is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from epcore.graph import INPUT, Node
from epcore.network import Network
from epcore.shapes import same_padding


def to_torch(array: np.ndarray) -> torch.Tensor:
    """A parameter as PyTorch orders it: kernels (Cout,Cin,kh,kw), depthwise (C,1,kh,kw), transposed (Cin,Cout,kh,kw)."""
    if array.ndim == 3:
        array = array.transpose(2, 0, 1)[:, None]
    elif array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    tensor = torch.from_numpy(array.copy())
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
        values = {INPUT: torch.from_numpy(x).permute(0, 3, 1, 2)}
        last = {name: node.name for node in self.model.graph.nodes.values() for name in node.inputs}
        kept = set(self.model.graph.outputs.values())
        for node in self.model.graph.nodes.values():
            parameters = [None if name is None else self.parameters[name] for name in node.parameters]
            values[node.name] = visit(node, [values[name] for name in node.inputs], parameters, self.model.is_frozen(node.name))
            for name in set(node.inputs):  # let go after the last use, as epcore does; autograd keeps what it needs
                if last[name] == node.name and name not in kept:
                    del values[name]
        return {label: values[name] for label, name in self.model.graph.outputs.items()}


def convolve(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None, stride: int, groups: int) -> torch.Tensor:
    (top, bottom), (left, right) = (same_padding(n, k, stride) for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    if (top, left) == (bottom, right):
        return F.conv2d(x, w, b, stride, (top, left), groups=groups)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride, groups=groups)


def visit(node: Node, inputs: list[torch.Tensor], parameters: list[Any], frozen: bool = False) -> torch.Tensor:
    """One node in training mode. Drop-connect draws its mask unless it is given one."""
    x, attributes = inputs[0], node.attributes
    match node.op:
        case "conv2d" | "depthwise_conv2d":
            w, b = (*parameters, None)[:2]
            return convolve(x, w, b, attributes["stride"], x.shape[1] if node.op == "depthwise_conv2d" else 1)
        case "conv_transpose2d":
            return F.conv_transpose2d(x, *parameters, stride=2, padding=1)
        case "batch_norm":
            gamma, beta, mean, variance = parameters
            return F.batch_norm(x, mean, variance, gamma, beta, not frozen, 0.01, attributes["epsilon"])
        case "swish":
            return F.silu(x)
        case "eswish":
            return F.silu(x) * attributes.get("beta", 1.25)
        case "squeeze_excite":
            w_reduce, b_reduce, w_expand, b_expand = parameters
            hidden = F.silu(F.conv2d(x.mean((2, 3), keepdim=True), w_reduce, b_reduce))
            if attributes["activation"] == "eswish":
                hidden = hidden * 1.25
            return x * torch.sigmoid(F.conv2d(hidden, w_expand, b_expand))
        case "drop_connect":
            keep = 1 - attributes["rate"]
            mask = inputs[1] if len(inputs) > 1 else torch.bernoulli(torch.full((x.shape[0], 1, 1, 1), keep))
            return x * (mask / keep)
        case "add":
            return x + inputs[1]
        case "concat":
            return torch.cat(inputs, 1)
        case "avg_pool":
            return F.avg_pool2d(x, attributes["size"])
        case _:
            raise ValueError(node.op)
