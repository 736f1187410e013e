"""Dense 2-D convolution with Keras SAME padding (the 3x3 stem, every 1x1, the 3x3s of VGG-19).

Equation:
    y[n,i,j,o] = b[o] + sum_{u,v,c} x[n, i*s+u-p, j*s+v-q, c] * w[u,v,c,o]            x = 0 outside its borders

Symbols:
    x (N,H,W,Cin), w (kh,kw,Cin,Cout), b (Cout,), y (N,OH,OW,Cout) with OH = ceil(H/s), OW = ceil(W/s). Indices: the legend in
    `epcore/ops/__init__.py`. p, q: zeros above and left of x, the smaller half of all that SAME adds (`shapes.same_padding`).
    For one tap (u,v) the sum over c is a matrix product: a 1x1 convolution is one product, a 3x3 is nine.

Derivation:
    y is linear in b, in w and in x. The gradient of one entry of these is the sum of dy over every y that the entry is part of,
    each times what the entry is multiplied with there.

    b[o] is part of every y of channel o, times 1. w[u,v,c,o] is part of every y of channel o, times the x under its tap:
        db[o]       = sum_{n,i,j} dy[n,i,j,o]
        dw[u,v,c,o] = sum_{n,i,j} x[n, i*s+u-p, j*s+v-q, c] * dy[n,i,j,o]
    x[n,h,k,c] is part of y[n,i,j,o] through tap (u,v) where that tap of that window lies on it:
        dx[n,h,k,c] = sum over all (i,j,u,v) with i*s+u-p = h and j*s+v-q = k of sum_o dy[n,i,j,o] * w[u,v,c,o]
    Change of summation variable: once h and u are chosen, i*s = h + p - u leaves at most one i, none if s does not divide
    h + p - u or i is no row of y. So the sum over (i,j,u,v) is one over the taps alone, the gather:
        dx[n,h,k,c] = sum_{u,v} sum_o dy[n, (h+p-u)/s, (k+q-v)/s, o] * w[u,v,c,o]         where s divides both
    (at s = 1 this is a convolution of dy with w turned by 180 degrees, its channels exchanged). Or i, j, u and v run freely,
    and each of them adds to the one pixel where its tap lies, the scatter:
        dx[n, i*s+u-p, j*s+v-q, c] += sum_o dy[n,i,j,o] * w[u,v,c,o]
    The two are equal because they add the same terms, one for each (i,j,u,v), only sorted differently: the gather by pixel of
    x, so that parallel kernels write every pixel once; the scatter by tap, so that each tap is one product, as below. What the
    scatter adds outside x is the gradient of the padding, which is no variable: it is cut off.

Saved:
    x, w, whether there is a bias
    x and w are held by others anyway: no extra bytes.

Cost:
    OH*OW*kh*kw*Cin*Cout multiply-accumulates a sample forward, those on padding counted as all profilers do; dw and dx are the
    same pairs again, so twice that backward. The bias: one addition an output, and one for db.

Source:
    Howard et al. 2017 (MobileNets), Equation 1; Dumoulin and Visin 2016, chapters 2 (padding, strides) and 4 (the gradient as
    a transposed convolution). In EfficientPose: the stem and all 1x1 convolutions.
"""

from __future__ import annotations

from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, KernelAxes, Op
from epcore.shapes import Shape, Window, output_size
from epcore.sums import matmul_in_double, sum_in_double


def forward(x: Array, w: Array, b: Array | None = None, *, stride: int = 1) -> tuple[Array, tuple[Array, Array, bool]]:
    """x (N,H,W,Cin), w (kh,kw,Cin,Cout), b (Cout,) or None -> y (N, ceil(H/s), ceil(W/s), Cout).

    Raises ValueError where the shapes do not fit.
    """
    xp = array_module(x, w, b)
    shape = output_shape(x.shape, w.shape, None if b is None else b.shape, stride=stride)
    windows = window(x.shape, w.shape, stride=stride)
    padded = windows.pad(x)
    y = xp.zeros(shape, x.dtype)
    for u, v in windows.taps():
        # (N,OH,OW,Cin) @ (Cin,Cout)
        y += padded[windows.tap(u, v)] @ w[u, v]
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
    windows = window(x.shape, w.shape, stride=stride)
    padded = windows.pad(x) if need_w else None
    dpadded = xp.zeros(windows.padded, x.dtype) if need_x else None
    dw = xp.zeros_like(w) if need_w else None
    flat_dy = dy.reshape(-1, dy.shape[3])
    for u, v in windows.taps():
        if padded is not None and dw is not None:
            # (Cin, N*OH*OW) @ (N*OH*OW, Cout)
            dw[u, v] = matmul_in_double(padded[windows.tap(u, v)].reshape(-1, x.shape[3]).T, flat_dy)
        if dpadded is not None:
            # (N,OH,OW,Cout) @ (Cout,Cin)
            dpadded[windows.tap(u, v)] += dy @ w[u, v].T
    dx = None if dpadded is None else windows.crop(dpadded)
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


def window(x: Shape, w: Shape, b: Shape | None = None, *, stride: int = 1) -> Window:
    return Window(x, w[:2], stride)


OP = Op(
    "conv2d", forward, backward, output_shape, cost, selective=True, kernel_axes=KernelAxes(2, 3), window=window, onnx="Conv"
)
