"""Depthwise 2-D convolution with Keras SAME padding: every channel has its own filter (3x3 or 5x5, stride 1 or 2).

Equation:
    y[n,i,j,c] = sum_{u,v} x[n, i*s+u-p, j*s+v-q, c] * w[u,v,c]            x = 0 outside its borders

Symbols:
    x (N,H,W,C), w (kh,kw,C), y (N,OH,OW,C) with OH = ceil(H/s), OW = ceil(W/s). Indices: the legend in
    `epcore/ops/__init__.py`. p, q: zeros above and left of x, the smaller half of all that SAME adds (`shapes.same_padding`).

Derivation:
    y is linear in w and in x, and channels do not meet. w[u,v,c] is part of every y of its channel, times the x under its tap:
        dw[u,v,c] = sum_{n,i,j} x[n, i*s+u-p, j*s+v-q, c] * dy[n,i,j,c]
    x[n,h,k,c] is part of y[n,i,j,c] through tap (u,v) where that tap of that window lies on it:
        dx[n,h,k,c] = sum over all (i,j,u,v) with i*s+u-p = h and j*s+v-q = k of dy[n,i,j,c] * w[u,v,c]
    Change of summation variable: h and u leave one i at most, (h+p-u)/s where s divides it and it is a row of y. The gather:
        dx[n,h,k,c] = sum_{u,v} dy[n, (h+p-u)/s, (k+q-v)/s, c] * w[u,v,c]                 where s divides both
    With i, j, u, v running freely, each adding to the pixel where its tap lies, it is the scatter:
        dx[n, i*s+u-p, j*s+v-q, c] += dy[n,i,j,c] * w[u,v,c]
    Both add one term for each (i,j,u,v), the gather sorted by pixel of x, the scatter by tap: they are equal (`conv2d` has the
    steps one by one). What the scatter adds outside x belongs to the padding and is cut off.

Saved:
    x, w
    Both are held by others anyway: no extra bytes.

Cost:
    OH*OW*kh*kw*C multiply-accumulates a sample forward, those on padding counted; dw and dx are the same pairs again, so twice
    that backward.

Source:
    Howard et al. 2017 (MobileNets), Equation 3. In EfficientPose: the middle of every mobile inverted bottleneck (Figure 3).
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, KernelAxes, Op
from epcore.shapes import Shape, Window, output_size
from epcore.sums import dot_in_double


def forward(x: Array, w: Array, *, stride: int = 1) -> tuple[Array, tuple[Array, Array]]:
    """x (N,H,W,C), w (kh,kw,C) -> y (N, ceil(H/s), ceil(W/s), C). Raises ValueError where the shapes do not fit."""
    xp = array_module(x, w)
    shape = output_shape(x.shape, w.shape, stride=stride)
    windows = window(x.shape, w.shape, stride=stride)
    padded = windows.pad(x)
    y = xp.zeros(shape, x.dtype)
    for u, v in windows.taps():
        # (N,OH,OW,C) * (C,)
        y += padded[windows.tap(u, v)] * w[u, v]
    return y, (x, w)


def backward(
    dy: Array, saved: tuple[Array, Array], *, stride: int = 1, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None]:
    """dy as y -> (dx, dw)."""
    x, w = saved
    xp = array_module(dy, x, w)
    need_x, need_w = needs or (True, True)
    windows = window(x.shape, w.shape, stride=stride)
    padded = windows.pad(x) if need_w else None
    dpadded = xp.zeros(windows.padded, x.dtype) if need_x else None
    dw = xp.zeros_like(w) if need_w else None
    for u, v in windows.taps():
        if padded is not None and dw is not None:
            # (N,OH,OW,C) * (N,OH,OW,C), summed to (C,)
            dw[u, v] = dot_in_double(padded[windows.tap(u, v)], dy, (0, 1, 2))
        if dpadded is not None:
            # (N,OH,OW,C) * (C,)
            dpadded[windows.tap(u, v)] += dy * w[u, v]
    return None if dpadded is None else windows.crop(dpadded), dw


def output_shape(x: Shape, w: Shape, *, stride: int = 1) -> Shape:
    if len(x) != 4 or len(w) != 3 or x[3] != w[2]:
        raise ValueError(f"depthwise_conv2d: x {x} and w {w} do not fit: expected x (N,H,W,C) and w (kh,kw,C)")
    return x[0], output_size(x[1], stride), output_size(x[2], stride), x[3]


def cost(x: Shape, w: Shape, *, stride: int = 1) -> Cost:
    macs = prod(output_shape(x, w, stride=stride)) * w[0] * w[1]
    return Cost(macs=macs, backward_macs=2 * macs)


def window(x: Shape, w: Shape, *, stride: int = 1) -> Window:
    return Window(x, w[:2], stride)


OP = Op(
    "depthwise_conv2d",
    forward,
    backward,
    output_shape,
    cost,
    selective=True,
    kernel_axes=KernelAxes(2, 2),
    window=window,
    onnx="Conv",
)
