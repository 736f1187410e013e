"""Dense 2-D convolution with Keras SAME padding (the 3x3 stem, every 1x1, the 3x3s of VGG-19).

    y[n,i,j,o] = b[o] + sum_{u,v,c} x[n, i*s + u - p, j*s + v - q, c] * w[u,v,c,o]

with zeros outside x. A tap (u,v) is one matrix product over channels, so a 1x1 convolution is exactly one product.

Derivative: y is linear in x, w and b, so each gradient is the transposed product of the same taps:

    dx[n, i*s+u-p, j*s+v-q, c] += sum_o dy[n,i,j,o] * w[u,v,c,o]
    dw[u,v,c,o] = sum_{n,i,j} x[n, i*s+u-p, j*s+v-q, c] * dy[n,i,j,o]        db[o] = sum_{n,i,j} dy[n,i,j,o]

Saved: x and w (both are held by others anyway: no extra bytes), and whether there was a bias.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape, output_size, window_padding
from epcore.sums import matmul_in_double, sum_in_double


def forward(x: Array, w: Array, b: Array | None = None, *, stride: int = 1) -> tuple[Array, tuple[Array, Array, bool]]:
    """x (N,H,W,Cin), w (kh,kw,Cin,Cout), b (Cout,) or None -> y (N, ceil(H/s), ceil(W/s), Cout).

    Raises ValueError where the shapes do not fit.
    """
    xp = array_module(x, w, b)
    shape = output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride)
    _, OH, OW, _ = shape
    padded = xp.pad(x, window_padding(x.shape[1], x.shape[2], w.shape[:2], stride))
    y = xp.zeros(shape, x.dtype)
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            y += padded[:, u : u + (OH - 1) * stride + 1 : stride, v : v + (OW - 1) * stride + 1 : stride] @ w[u, v]
    if b is not None:
        y += b
    return y, (x, w, b is not None)


def backward(
    dy: Array, saved: tuple[Array, Array, bool], *, stride: int = 1, needs: tuple[bool, ...] | None = None
) -> tuple[Array | None, Array | None, Array | None]:
    """dy as y -> (dx, dw, db). `needs` leaves out what nobody wants (the stem's dx, a frozen backbone's dw)."""
    x, w, has_bias = saved
    xp = array_module(dy, x, w)
    need_x, need_w, need_b = needs or (True, True, True)
    OH, OW = dy.shape[1:3]
    padding = window_padding(x.shape[1], x.shape[2], w.shape[:2], stride)
    padded = xp.pad(x, padding) if need_w else None
    dpadded = xp.zeros([n + sum(p) for n, p in zip(x.shape, padding, strict=True)], x.dtype) if need_x else None
    dw = xp.zeros_like(w) if need_w else None
    flat_dy = dy.reshape(-1, dy.shape[3])
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            rows = slice(u, u + (OH - 1) * stride + 1, stride)
            columns = slice(v, v + (OW - 1) * stride + 1, stride)
            if padded is not None and dw is not None:
                dw[u, v] = matmul_in_double(padded[:, rows, columns].reshape(-1, x.shape[3]).T, flat_dy)
            if dpadded is not None:
                dpadded[:, rows, columns] += dy @ w[u, v].T
    dx = None
    if dpadded is not None:
        (top, _), (left, _) = padding[1:3]
        dx = dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]
    db = sum_in_double(flat_dy, 0).astype(dy.dtype) if has_bias and need_b else None
    return dx, dw, db


def output_shape(x: Shape, w: Shape, b: Shape | None = None, *, stride: int = 1) -> Shape:
    if len(x) != 4 or len(w) != 4 or x[3] != w[2]:
        raise ValueError(f"conv2d: x {x} and w {w} do not fit: expected x (N,H,W,Cin) and w (kh,kw,Cin,Cout)")
    if b is not None and b != (w[3],):
        raise ValueError(f"conv2d: b has shape {b}, expected ({w[3]},)")
    return x[0], output_size(x[1], stride), output_size(x[2], stride), w[3]


def cost(x: Shape, w: Shape, b: Shape | None = None, *, stride: int = 1) -> Cost:
    """Every tap of every output counts, also those that fall on padding, as all profilers do."""
    outputs = prod(output_shape(x, w, b, stride=stride))
    macs = outputs * w[0] * w[1] * w[2]
    bias = {"bias": outputs} if b is not None else {}
    return Cost(macs=macs, elementwise=bias, backward_macs=2 * macs, backward_elementwise=bias)


OP = Op("conv2d", forward, backward, output_shape, cost, selective=True)
