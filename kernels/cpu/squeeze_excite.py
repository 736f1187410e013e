"""Squeeze-and-excitation on the CPU: `epcore.ops.squeeze_excite` is the definition.

The passes over the pixels (means, scaling, and their gradients) are kernels; the two small products between channel
vectors are loops of their own, so that their sums keep one order whatever a BLAS would do, and in double, which costs nothing
at this size.
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.jit import serial_kernel
from epcore.kernels.cpu.reduction import image_sums, product_sums, scale
from epcore.ops.sigmoid import sigmoid
from epcore.ops.squeeze_excite import ACTIVATIONS, Saved, output_shape


@serial_kernel
def _product(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """y (I,J) += a (I,K) @ b (K,J)."""
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                y[i, j] += a[i, k] * b[k, j]


def _matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    y = np.zeros((a.shape[0], b.shape[1]))
    if bias is not None:
        y += bias
    _product(np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64), y)
    return y.astype(np.float32)


def forward(
    x: np.ndarray,
    w_reduce: np.ndarray,
    b_reduce: np.ndarray,
    w_expand: np.ndarray,
    b_expand: np.ndarray,
    *,
    activation: str = "swish",
) -> tuple[np.ndarray, Saved]:
    """x (N,H,W,C), w_reduce (1,1,C,R), b_reduce (R,), w_expand (1,1,R,C), b_expand (C,), float32 -> y as x.

    Raises TypeError or ValueError for what the kernels refuse.
    """
    weights = {"w_reduce": w_reduce, "b_reduce": b_reduce, "w_expand": w_expand, "b_expand": b_expand}
    check("squeeze_excite", x=x, **weights)
    output_shape(x.shape, *(weight.shape for weight in weights.values()), activation=activation)
    mean = (image_sums(x) / (x.shape[1] * x.shape[2])).astype(np.float32)
    reduced = _matmul(mean, w_reduce[0, 0], b_reduce)
    hidden, _ = ACTIVATIONS[activation].forward(reduced)
    gate = sigmoid(_matmul(hidden, w_expand[0, 0], b_expand))
    y = empty(x.shape)
    scale(x, gate, np.zeros_like(gate), y)
    return y, (x, w_reduce, w_expand, mean, reduced, gate)


def backward(
    dy: np.ndarray, saved: Saved, *, activation: str = "swish"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """dy as y -> (dx, dw_reduce, db_reduce, dw_expand, db_expand)."""
    x, w_reduce, w_expand, mean, reduced, gate = saved
    check_gradient("squeeze_excite", dy, x.shape)
    hidden, hidden_saved = ACTIVATIONS[activation].forward(reduced)
    _, dgate = product_sums(x, dy)
    du = dgate.astype(np.float32) * gate * (1 - gate)
    dw_expand = _matmul(hidden.T, du)[None, None]
    (dreduced,) = ACTIVATIONS[activation].backward(_matmul(du, w_expand[0, 0].T), hidden_saved)
    dw_reduce = _matmul(mean.T, dreduced)[None, None]
    dmean = _matmul(dreduced, w_reduce[0, 0].T)
    dx = empty(x.shape)
    scale(dy, gate, dmean / (x.shape[1] * x.shape[2]), dx)
    return dx, dw_reduce, dreduced.sum(axis=0), dw_expand, du.sum(axis=0)
