"""Transposed convolution on the GPU; equations and contract: `epcore.ops.conv_transpose2d`.

It is a convolution with x and y in each other's place, so it runs on conv2d's kernels: forward is the gradient of a
convolution's input, the gradient of x is a convolution of dy.
"""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.conv2d import bias_gradient, data_gradient, filter_gradient, patch_product
from epcore.kernels.cuda.launch import LINEAR, check, check_axes, check_shape, empty
from epcore.ops.conv_transpose2d import output_shape
from epcore.shapes import transposed_crop


def forward(x: Array, w: Array, b: Array | None = None, *, stride: int = 2) -> tuple[Array, tuple[Array, Array, bool]]:
    check("conv_transpose2d", x=x, w=w, b=b)
    check_axes("conv_transpose2d", "x", x)
    y = empty(output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride), x)
    data_gradient(x, w, b, y, stride, _crop(w, stride))
    return y, (x, w, b is not None)


def backward(
    dy: Array, saved: tuple[Array, Array, bool], *, stride: int = 2, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None, Array | None]:
    x, w, has_bias = saved
    check("conv_transpose2d", dy=dy, x=x, w=w)
    check_shape("conv_transpose2d", "dy", dy, output_shape(x.shape, w.shape, stride=stride))
    need_x, need_w, need_b = needs or (True, True, True)
    dx = empty(x.shape, x) if need_x else None
    dw = empty(w.shape, w) if need_w else None
    if dx is not None:
        patch_product(dy, w, None, dx, stride, _crop(w, stride), LINEAR[0], dy.dtype.type(LINEAR[1]))
    if dw is not None:
        filter_gradient(dy, x, dw, stride, _crop(w, stride))
    return dx, dw, bias_gradient(dy) if has_bias and need_b else None


def _crop(w: Array, stride: int) -> tuple[int, int]:
    return transposed_crop(w.shape[0], stride), transposed_crop(w.shape[1], stride)
