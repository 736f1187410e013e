"""Transposed 2-D convolution, Keras SAME: the output is exactly `stride` times the input (the three 4x4 upscalings).

Equation:
    y[n,h,k,o] = b[o] + sum over all (i,j,u,v) with i*s+u-p = h and j*s+v-q = k of sum_c x[n,i,j,c] * w[u,v,o,c]

Symbols:
    x (N,H,W,Cin), w (kh,kw,Cout,Cin), b (Cout,), y (N,H*s,W*s,Cout). Here i, j are the pixel of x and h, k that of y (legend in
    `epcore/ops/__init__.py`). p = max(kh - s, 0) // 2, q likewise: rows and columns that are cropped from the full output.
    Read pixel by pixel of x it is a scatter: x[n,i,j] times the kernel is added to y at the window that starts at i*s-p, j*s-q.
    What falls outside y is dropped, and nothing comes in from outside x: at the border the bilinear kernel therefore fades to
    zero, unlike an edge-replicating resize.

Derivation:
    It is the step dy -> dx of a convolution with y in the place of that dx, and linear in b, w and x again.

    b[o] is part of every y of channel o, times 1:
        db[o] = sum_{n,h,k} dy[n,h,k,o]
    w[u,v,o,c] is part of one y for every pixel (i,j) of x, the one where its tap lies, times x[n,i,j,c]:
        dw[u,v,o,c] = sum_{n,i,j} dy[n, i*s+u-p, j*s+v-q, o] * x[n,i,j,c]                 dy = 0 outside its borders
    x[n,i,j,c] is part of one y for every tap (u,v), the one where that lies, times w[u,v,o,c]. Change of summation variable:
    given (i,j), every (u,v) has exactly one (h,k) in the condition under the sum, so that the sum over y becomes one over taps:
        dx[n,i,j,c] = sum_{u,v,o} dy[n, i*s+u-p, j*s+v-q, o] * w[u,v,o,c]                 dy = 0 outside its borders
    which is a plain convolution of dy with w at stride s. So forward is a scatter and its gradient the gather; both have one
    term for each (i,j,u,v), as in `conv2d`, where it is the other way round. What forward dropped has no gradient: the zeros.

Saved:
    x, w, whether there is a bias
    x and w are held by others anyway: no extra bytes.

Cost:
    Counted on the input: H*W*kh*kw*Cin*Cout multiply-accumulates a sample, every pixel of x meets every entry of w once; dw and
    dx are the same pairs again, so twice that backward. The bias: one addition an output, and one for db.

Source:
    Dumoulin and Visin 2016, chapter 4. In EfficientPose: the upscaling at the end (Figure 2), started from `bilinear_kernel`,
    which the released kernels still equal.
"""

from __future__ import annotations

from math import prod

import numpy as np

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, KernelAxes, Op
from epcore.shapes import Shape, Window
from epcore.sums import matmul_in_double, sum_in_double


def bilinear_kernel(channels: int, size: int = 4) -> np.ndarray:
    """(size, size, C, C) float64: bilinear interpolation on the diagonal, zero between different channels."""
    center = (size - 1) / 2
    step = 1 / ((size + 1) // 2)
    line = 1 - np.abs(np.arange(size) - center) * step
    return np.outer(line, line)[:, :, None, None] * np.eye(channels)


def forward(x: Array, w: Array, b: Array | None = None, *, stride: int = 2) -> tuple[Array, tuple[Array, Array, bool]]:
    """x (N,H,W,Cin), w (kh,kw,Cout,Cin), b (Cout,) or None -> y (N, H*s, W*s, Cout).

    Raises ValueError where the shapes do not fit.
    """
    xp = array_module(x, w, b)
    shape = output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride)
    window = Window(shape, w.shape[:2], stride)
    full = xp.zeros(window.padded, x.dtype)
    for u, v in window.taps():
        # (N,H,W,Cin) @ (Cin,Cout)
        full[window.tap(u, v)] += x @ w[u, v].T
    y = xp.ascontiguousarray(window.crop(full))
    if b is not None:
        y += b
    return y, (x, w, b is not None)


def backward(
    dy: Array, saved: tuple[Array, Array, bool], *, stride: int = 2, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None, Array | None]:
    """dy as y -> (dx, dw, db)."""
    x, w, has_bias = saved
    xp = array_module(dy, x, w)
    need_x, need_w, need_b = needs or (True, True, True)
    window = Window(dy.shape, w.shape[:2], stride)
    full = window.pad(dy)
    dx = xp.zeros_like(x) if need_x else None
    dw = xp.zeros_like(w) if need_w else None
    for u, v in window.taps():
        tap = full[window.tap(u, v)]
        if dx is not None:
            # (N,H,W,Cout) @ (Cout,Cin)
            dx += tap @ w[u, v]
        if dw is not None:
            # (Cout, N*H*W) @ (N*H*W, Cin)
            dw[u, v] = matmul_in_double(tap.reshape(-1, w.shape[2]).T, x.reshape(-1, x.shape[3]))
    db = sum_in_double(dy, (0, 1, 2)).astype(dy.dtype) if has_bias and need_b else None
    return dx, dw, db


def output_shape(x: Shape, w: Shape, b: Shape | None = None, *, stride: int = 2) -> Shape:
    if len(x) != 4 or len(w) != 4 or x[3] != w[3]:
        raise ValueError(f"conv_transpose2d: x {x} and w {w} do not fit: expected x (N,H,W,Cin) and w (kh,kw,Cout,Cin)")
    if b is not None and b != (w[2],):
        raise ValueError(f"conv_transpose2d: b has shape {b}, expected ({w[2]},)")
    return x[0], x[1] * stride, x[2] * stride, w[2]


def cost(x: Shape, w: Shape, b: Shape | None = None, *, stride: int = 2) -> Cost:
    """Counted on the input grid: every input pixel meets every kernel entry once."""
    macs = prod(x) * w[0] * w[1] * w[2]
    bias = {"bias": prod(output_shape(x, w, b, stride=stride))} if b is not None else {}
    return Cost(macs=macs, elementwise=bias, backward_macs=2 * macs, backward_elementwise=bias)


def spread(x: Shape, w: Shape, b: Shape | None = None, *, stride: int = 2) -> Window:
    return Window(output_shape(x, w, b, stride=stride), w[:2], stride)


OP = Op(
    "conv_transpose2d",
    forward,
    backward,
    output_shape,
    cost,
    selective=True,
    kernel_axes=KernelAxes(3, 2),
    spread=spread,
    onnx="ConvTranspose",
)
