"""E-swish on the CPU: `epcore.ops.eswish` is the definition; swish with a factor."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.swish import activate, differentiate
from epcore.ops.eswish import BETA


def forward(x: np.ndarray, *, beta: float = BETA) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x float32 of any shape -> y as x. Raises TypeError or ValueError for what the kernels refuse."""
    check("eswish", x=x)
    y = empty(x.shape)
    activate(x, np.float32(beta), y)
    return y, (x,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray], *, beta: float = BETA) -> tuple[np.ndarray]:
    (x,) = saved
    check_gradient("eswish", dy, x.shape)
    dx = empty(x.shape)
    differentiate(dy, x, np.float32(beta), dx)
    return (dx,)
