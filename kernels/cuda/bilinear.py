"""Bilinear upscaling by two on the GPU: the paper's transposed 4x4 convolution where its kernel is diagonal bilinear.

Equal to `epcore.ops.conv_transpose2d` with `bilinear_kernel` and no bias, at a fraction of the work; inference plans use it
once they have seen that a layer's kernel is that one.
"""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import check, check_axes, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source

SOURCE = Source("bilinear", ("bilinear_forward<{T},{V}>", "bilinear_backward<{T},{V}>"))


def forward(x: Array) -> Array:
    """x (N,H,W,C) -> y (N,2H,2W,C)."""
    T = check("bilinear", x=x)
    check_axes("bilinear", "x", x)
    N, H, W, C = x.shape
    y = empty((N, 2 * H, 2 * W, C), x)
    V = width(C, x, y)
    launch(SOURCE, T, f"bilinear_forward<{T},{V}>", flat(y.size, V), x, y, N, H, W, C)
    return y


def backward(dy: Array) -> Array:
    """dy (N,2H,2W,C) -> dx (N,H,W,C). Raises ValueError for odd sizes."""
    T = check("bilinear", dy=dy)
    check_axes("bilinear", "dy", dy)
    N, H2, W2, C = dy.shape
    if H2 % 2 or W2 % 2:
        raise ValueError(f"bilinear: dy has shape {dy.shape}, expected an even height and width")
    dx = empty((N, H2 // 2, W2 // 2, C), dy)
    V = width(C, dy, dx)
    launch(SOURCE, T, f"bilinear_backward<{T},{V}>", flat(dx.size, V), dy, dx, N, H2 // 2, W2 // 2, C)
    return dx
