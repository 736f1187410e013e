"""PyTorch's side of one operator call: forward, and backward by autograd, on channels-last tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cases import Case
from torch_twin import to_torch, visit

from epcore.ops import OPS


class TorchCall:
    """The same arguments and gradient as epcore's; `forward()` and `backward()` give what epcore's give, as tensors."""

    def __init__(self, case: Case, arguments: list[np.ndarray | None], dy: np.ndarray) -> None:
        self.case = case
        maps = len(case.node.inputs)
        self.inputs = [torch.from_numpy(array).permute(0, 3, 1, 2).requires_grad_() for array in arguments[:maps]]
        self.parameters: list[Any] = []
        if OPS[case.node.op].identity_at_inference:  # its last argument is the mask, nothing learned
            self.inputs += [torch.from_numpy(array) for array in arguments[maps:]]
        else:
            self.parameters = [None if array is None else to_torch(array) for array in arguments[maps:]]
        learned = self.parameters[:2] if OPS[case.node.op].batch_statistics else self.parameters  # not the running statistics
        self.sources = [x for x in self.inputs if x.requires_grad] + [p.requires_grad_() for p in learned if p is not None]
        self.dy = torch.from_numpy(dy).permute(0, 3, 1, 2)

    def forward(self) -> torch.Tensor:
        return visit(self.case.node, self.inputs, self.parameters)

    def backward(self, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gradients of the inputs and of what is learned, in epcore's order of arguments.

        Those of maps are dense, as epcore's are: PyTorch gives the inputs of a concatenation views, and leaves the copy to
        whoever reads them.
        """
        gradients = torch.autograd.grad(y, self.sources, self.dy, retain_graph=True)
        maps = len(self.case.node.inputs)
        return (*(each.contiguous(memory_format=torch.channels_last) for each in gradients[:maps]), *gradients[maps:])


def to_numpy(tensor: torch.Tensor, *, is_map: bool) -> np.ndarray:
    """A tensor in epcore's order of axes: a map (N,H,W,C), or a parameter (the inverse of `to_torch`)."""
    array = tensor.detach().numpy()
    if is_map:
        return array.transpose(0, 2, 3, 1)
    if array.ndim < 4:
        return array
    return array.transpose(2, 3, 1, 0)
