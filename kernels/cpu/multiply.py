"""Product of two tensors on the CPU: `epcore.ops.multiply` is the definition.

No network of the paper contains it (squeeze-and-excitation is one operator), so NumPy does the work."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient
from epcore.ops import multiply as reference


def forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """a, b float32 of broadcastable shapes -> y. Raises TypeError or ValueError for what the kernels refuse."""
    check("multiply", a=a, b=b)
    return reference.forward(a, b)


def backward(dy: np.ndarray, saved: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    check_gradient("multiply", dy, reference.output_shape(saved[0].shape, saved[1].shape))
    return reference.backward(dy, saved)
