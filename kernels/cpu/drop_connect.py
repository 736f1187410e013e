"""Drop-connect on the CPU: `epcore.ops.drop_connect` is the definition; one factor an image."""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.arrays import check, check_gradient, empty
from epcore.kernels.cpu.loops import by_image
from epcore.kernels.cpu.simd import Block
from epcore.ops.drop_connect import output_shape


@by_image
def _scale(x: Block, factor: float) -> Block:
    return x * factor


def _multiply(x: np.ndarray, mask: np.ndarray, rate: float) -> np.ndarray:
    y = empty(x.shape)
    _scale(x.reshape(len(x), -1), mask.reshape(-1) / np.float32(1 - rate), y.reshape(len(x), -1))
    return y


def forward(x: np.ndarray, mask: np.ndarray, *, rate: float) -> tuple[np.ndarray, tuple[np.ndarray]]:
    """x (N,H,W,C), mask (N,1,1,1) of zeros and ones, float32 -> y as x.

    Raises TypeError or ValueError for what the kernels refuse.
    """
    check("drop_connect", x=x, mask=mask)
    output_shape(x.shape, mask.shape, rate=rate)
    return _multiply(x, mask, rate), (mask,)


def backward(dy: np.ndarray, saved: tuple[np.ndarray], *, rate: float) -> tuple[np.ndarray, None]:
    (mask,) = saved
    check_gradient("drop_connect", dy, (mask.shape[0], *dy.shape[1:]))
    return _multiply(dy, mask, rate), None
