"""Squeeze-and-excitation: every channel is scaled by a gate computed from the means of all channels.

Equation:
    m = 1/(H*W) * sum_{h,k} x                                     (N,C)       squeeze
    t = m @ w_reduce + b_reduce,    a = activation(t)             (N,R)       reduce
    u = a @ w_expand + b_expand,    g = sigmoid(u)                (N,C)       expand
    y = x * g                                                     (N,H,W,C)   scale

Symbols:
    x, y (N,H,W,C), w_reduce (C,R), b_reduce (R,), w_expand (R,C), b_expand (C,); the weights come as 1x1 convolutions, with two
    axes of length 1 in front. @ is the matrix product, g is the same for all h, k. The activation is swish in the backbone and
    E-swish in the detection blocks. u is no tap here.

Derivation:
    Last step first; each line needs only gradients from the lines above it.

    y = x * g             g is used H*W times, so its gradient is a sum over them:
                          dg = sum_{h,k} dy * x
    g = sigmoid(u)        du = dg * g * (1 - g)
    u = a @ w_expand + b_expand       u[n,c] = sum_r a[n,r] * w_expand[r,c] + b_expand[c]: a product's gradients are products
                          dw_expand = a^T @ du,     db_expand = sum_n du,     da = du @ w_expand^T
    a = activation(t)     dt = da * activation'(t)
    t = m @ w_reduce + b_reduce
                          dw_reduce = m^T @ dt,     db_reduce = sum_n dt,     dm = dt @ w_reduce^T
    x                     enters twice, as what is scaled and through m, of which each pixel is the H*W-th part:
                          dx = dy * g + dm / (H*W)

Saved:
    x, w_reduce, w_expand, m, t, g
    x and the weights are held by others anyway; m, t and g are N * (2C + R) values. a is recomputed from t.

Cost:
    2*C*R multiply-accumulates a sample forward and twice that backward (each product has two gradients). The mean and the scale
    touch every element of x; backward that is dy * x, its sum and dy * g, and dm once. Biases and activations: R + C values.

Source:
    Hu et al. 2018, Equations 2 (squeeze), 3 (excitation: reduce and expand) and 4 (scale); the swish inside from EfficientNet.
"""

from __future__ import annotations

from math import prod
from types import ModuleType

from epcore.base.arrays import Array
from epcore.op import Cost, Kept, Op, Step
from epcore.ops import eswish, relu, swish
from epcore.ops.sigmoid import sigmoid
from epcore.shapes import Shape
from epcore.sums import dot_in_double, matmul_in_double, mean_in_double, sum_in_double

ACTIVATIONS: dict[str, ModuleType] = {"swish": swish, "eswish": eswish, "relu": relu}
Saved = tuple[Array, Array, Array, Array, Array, Array]


def forward(
    x: Array, w_reduce: Array, b_reduce: Array, w_expand: Array, b_expand: Array, *, activation: str = "swish"
) -> tuple[Array, Saved]:
    """x (N,H,W,C), w_reduce (1,1,C,R), b_reduce (R,), w_expand (1,1,R,C), b_expand (C,) -> y as x.

    Raises ValueError where the shapes do not fit or the activation is unknown.
    """
    output_shape(x.shape, w_reduce.shape, b_reduce.shape, w_expand.shape, b_expand.shape, activation=activation)
    m = mean_in_double(x, (1, 2)).astype(x.dtype)
    # (N,C) @ (C,R)
    t = (matmul_in_double(m, w_reduce[0, 0]) + b_reduce).astype(x.dtype)
    a, _ = ACTIVATIONS[activation].forward(t)
    # (N,R) @ (R,C)
    u = (matmul_in_double(a, w_expand[0, 0]) + b_expand).astype(x.dtype)
    g = sigmoid(u)
    # (N,H,W,C) * (N,1,1,C)
    return x * g[:, None, None, :], (x, w_reduce, w_expand, m, t, g)


def backward(dy: Array, saved: Saved, *, activation: str = "swish") -> tuple[Array, Array, Array, Array, Array]:
    """dy as y -> (dx, dw_reduce, db_reduce, dw_expand, db_expand)."""
    x, w_reduce, w_expand, m, t, g = saved
    a, saved_of_a = ACTIVATIONS[activation].forward(t)
    # (N,H,W,C) * (N,H,W,C), summed to (N,C)
    dg = dot_in_double(dy, x, (1, 2)).astype(x.dtype)
    du = dg * g * (1 - g)
    # (R,N) @ (N,C)
    dw_expand = matmul_in_double(a.T, du).astype(x.dtype)[None, None]
    db_expand = sum_in_double(du, 0).astype(x.dtype)
    # (N,C) @ (C,R)
    da = matmul_in_double(du, w_expand[0, 0].T).astype(x.dtype)
    (dt,) = ACTIVATIONS[activation].backward(da, saved_of_a)
    # (C,N) @ (N,R)
    dw_reduce = matmul_in_double(m.T, dt).astype(x.dtype)[None, None]
    db_reduce = sum_in_double(dt, 0).astype(x.dtype)
    # (N,R) @ (R,C)
    dm = matmul_in_double(dt, w_reduce[0, 0].T).astype(x.dtype)
    # (N,H,W,C) * (N,1,1,C)
    dx = dy * g[:, None, None, :] + (dm / (x.shape[1] * x.shape[2]))[:, None, None, :]
    return dx, dw_reduce, db_reduce, dw_expand, db_expand


def output_shape(
    x: Shape, w_reduce: Shape, b_reduce: Shape, w_expand: Shape, b_expand: Shape, *, activation: str = "swish"
) -> Shape:
    if activation not in ACTIVATIONS:
        raise ValueError(f"squeeze_excite: activation {activation!r}: expected one of {', '.join(ACTIVATIONS)}")
    C, R = x[-1], w_reduce[-1]
    expected = {"w_reduce": (1, 1, C, R), "b_reduce": (R,), "w_expand": (1, 1, R, C), "b_expand": (C,)}
    for (name, want), got in zip(expected.items(), (w_reduce, b_reduce, w_expand, b_expand), strict=True):
        if got != want:
            raise ValueError(f"squeeze_excite: {name} has shape {got}, expected {want}")
    return x


def cost(x: Shape, w_reduce: Shape, b_reduce: Shape, w_expand: Shape, b_expand: Shape, *, activation: str = "swish") -> Cost:
    N, C, R = x[0], x[3], w_reduce[3]
    macs = 2 * N * C * R
    small = {"bias": N * (R + C), activation: N * R, "sigmoid": N * C}
    return Cost(
        macs=macs,
        elementwise={"mean": prod(x), **small, "se_scale": prod(x)},
        backward_macs=2 * macs,
        backward_elementwise={"se_scale": 3 * prod(x), "mean": prod(x), **small},
    )


def keeps(x: Shape, w_reduce: Shape, *parameters: Shape, **attributes: object) -> tuple[Kept, ...]:
    N, C, R = x[0], x[3], w_reduce[3]
    return Kept((N, C)), Kept((N, R)), Kept((N, C))


def steps(*, activation: str = "swish") -> tuple[Step, ...]:
    """The equation, operator by operator; a 1x1 convolution of a 1x1 map is the product."""
    return (
        Step("mean", "global_mean", ("x",)),
        Step("reduce", "conv2d", ("mean", "w_reduce", "b_reduce"), {"stride": 1}),
        Step("hidden", activation, ("reduce",)),
        Step("expand", "conv2d", ("hidden", "w_expand", "b_expand"), {"stride": 1}),
        Step("gate", "sigmoid", ("expand",)),
        Step("y", "multiply", ("x", "gate")),
    )


OP = Op("squeeze_excite", forward, backward, output_shape, cost, keeps=keeps, steps=steps)
