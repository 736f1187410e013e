"""Squeeze-and-excitation (Hu et al. 2018): every channel is scaled by a gate computed from the means of all channels.

    m = mean over H,W of x                           (N,C)  squeeze
    t = m @ w_reduce + b_reduce,  a = activation(t)  (N,R)  reduce
    g = sigmoid(a @ w_expand + b_expand)             (N,C)  expand
    y = x * g                                               scale

Derivative, last step first (x enters twice: as what is scaled, and through m):

    dg = sum over H,W of dy * x                      du = dg * g * (1 - g)         with u = a @ w_expand + b_expand
    dw_expand = a^T @ du      db_expand = sum du     da = du @ w_expand^T
    dt = da * activation'(t)
    dw_reduce = m^T @ dt      db_reduce = sum dt     dm = dt @ w_reduce^T
    dx = dy * g + dm / (H*W)

Saved: x and the weights (held by others), and m, t, g: N * (2C + R) values. The activation is swish in the backbone and
E-swish in the detection blocks; it is recomputed from t.
"""

from __future__ import annotations

from math import prod
from types import ModuleType

from epcore.backend import Array
from epcore.op import Cost, Op
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
    mean = mean_in_double(x, (1, 2)).astype(x.dtype)
    reduced = (matmul_in_double(mean, w_reduce[0, 0]) + b_reduce).astype(x.dtype)
    hidden, _ = ACTIVATIONS[activation].forward(reduced)
    gate = sigmoid((matmul_in_double(hidden, w_expand[0, 0]) + b_expand).astype(x.dtype))
    return x * gate[:, None, None, :], (x, w_reduce, w_expand, mean, reduced, gate)


def backward(dy: Array, saved: Saved, *, activation: str = "swish") -> tuple[Array, Array, Array, Array, Array]:
    """dy as y -> (dx, dw_reduce, db_reduce, dw_expand, db_expand)."""
    x, w_reduce, w_expand, mean, reduced, gate = saved
    hidden, hidden_saved = ACTIVATIONS[activation].forward(reduced)
    dgate = dot_in_double(dy, x, (1, 2)).astype(x.dtype)
    du = dgate * gate * (1 - gate)
    dw_expand = matmul_in_double(hidden.T, du).astype(x.dtype)[None, None]
    dhidden = matmul_in_double(du, w_expand[0, 0].T).astype(x.dtype)
    (dreduced,) = ACTIVATIONS[activation].backward(dhidden, hidden_saved)
    dw_reduce = matmul_in_double(mean.T, dreduced).astype(x.dtype)[None, None]
    dmean = matmul_in_double(dreduced, w_reduce[0, 0].T).astype(x.dtype)
    dx = dy * gate[:, None, None, :] + (dmean / (x.shape[1] * x.shape[2]))[:, None, None, :]
    db_reduce, db_expand = (sum_in_double(each, 0).astype(x.dtype) for each in (dreduced, du))
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


OP = Op("squeeze_excite", forward, backward, output_shape, cost)
