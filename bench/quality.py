"""How far epcore's kernels and PyTorch's float32 are from the same computation in double."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cases import Case
from torch_kernels import TorchCall, to_numpy


@dataclass(frozen=True)
class Quality:
    """Errors of one result (the output, or one gradient): max |float32 - float64|, in units of float32's epsilon times the
    largest value of the result."""

    case: str
    result: str
    epcore: float
    torch: float


def measure(case: Case, seed: int = 0) -> list[Quality]:
    """Output and gradients of one call, on the same numbers for both."""
    arguments, dy = case.arguments(seed), case.gradient(seed)
    forward, backward = case.functions("cpu")
    y, saved = forward(arguments)
    mine = [y, *(gradient for gradient in backward(dy, saved) if gradient is not None)]
    forward, backward = case.functions("reference")
    exact_y, saved = forward([None if array is None else array.astype(np.float64) for array in arguments])
    exact = [exact_y, *(gradient for gradient in backward(dy.astype(np.float64), saved) if gradient is not None)]
    call = TorchCall(case, arguments, dy)
    output = call.forward()
    theirs = [output, *call.backward(output)]
    names = ["output", *(f"gradient {i}" for i in range(len(exact) - 1))]
    rows = []
    for i, (name, a, b, e) in enumerate(zip(names, mine, theirs, exact, strict=True)):
        t = to_numpy(b, is_map=i <= len(case.node.inputs)).reshape(e.shape)  # depthwise: (k,k,1,C) -> (k,k,C)
        scale = np.finfo(np.float32).eps * max(float(np.abs(e).max()), 1e-30)
        rows.append(Quality(case.label, name, float(np.abs(a - e).max()) / scale, float(np.abs(t - e).max()) / scale))
    return rows
