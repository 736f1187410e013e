"""Depthwise 2-D convolution with Keras SAME padding: every channel has its own kxk filter (k 3 or 5, stride 1 or 2).

    y[n,i,j,c] = sum_{u,v} x[n, i*s + u - p, j*s + v - q, c] * w[u,v,c]

Derivative: dx[n, i*s+u-p, j*s+v-q, c] += dy[n,i,j,c] * w[u,v,c]
            dw[u,v,c] = sum_{n,i,j} x[n, i*s+u-p, j*s+v-q, c] * dy[n,i,j,c]

Saved: x and w, both held by others anyway.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape, output_size, window_padding
from epcore.sums import dot_in_double


def forward(x: Array, w: Array, *, stride: int = 1) -> tuple[Array, tuple[Array, Array]]:
    """x (N,H,W,C), w (kh,kw,C) -> y (N, ceil(H/s), ceil(W/s), C). Raises ValueError where the shapes do not fit."""
    xp = array_module(x, w)
    shape = output_shape(x.shape, w.shape, stride=stride)
    _, OH, OW, _ = shape
    padded = xp.pad(x, window_padding(x.shape[1], x.shape[2], w.shape[:2], stride))
    y = xp.zeros(shape, x.dtype)
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            y += padded[:, u : u + (OH - 1) * stride + 1 : stride, v : v + (OW - 1) * stride + 1 : stride] * w[u, v]
    return y, (x, w)


def backward(
    dy: Array, saved: tuple[Array, Array], *, stride: int = 1, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None]:
    """dy as y -> (dx, dw)."""
    x, w = saved
    xp = array_module(dy, x, w)
    need_x, need_w = needs or (True, True)
    OH, OW = dy.shape[1:3]
    padding = window_padding(x.shape[1], x.shape[2], w.shape[:2], stride)
    padded = xp.pad(x, padding) if need_w else None
    dpadded = xp.zeros([n + sum(p) for n, p in zip(x.shape, padding, strict=True)], x.dtype) if need_x else None
    dw = xp.zeros_like(w) if need_w else None
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            rows = slice(u, u + (OH - 1) * stride + 1, stride)
            columns = slice(v, v + (OW - 1) * stride + 1, stride)
            if padded is not None and dw is not None:
                dw[u, v] = dot_in_double(padded[:, rows, columns], dy, (0, 1, 2))
            if dpadded is not None:
                dpadded[:, rows, columns] += dy * w[u, v]
    dx = None
    if dpadded is not None:
        (top, _), (left, _) = padding[1:3]
        dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    return dx, dw


def output_shape(x: Shape, w: Shape, *, stride: int = 1) -> Shape:
    if len(x) != 4 or len(w) != 3 or x[3] != w[2]:
        raise ValueError(f"depthwise_conv2d: x {x} and w {w} do not fit: expected x (N,H,W,C) and w (kh,kw,C)")
    return x[0], output_size(x[1], stride), output_size(x[2], stride), x[3]


def cost(x: Shape, w: Shape, *, stride: int = 1) -> Cost:
    macs = prod(output_shape(x, w, stride=stride)) * w[0] * w[1]
    return Cost(macs=macs, backward_macs=2 * macs)


OP = Op("depthwise_conv2d", forward, backward, output_shape, cost, selective=True)
