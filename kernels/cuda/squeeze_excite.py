"""Squeeze-and-excitation on the GPU; equations and contract: `epcore.ops.squeeze_excite`."""

from __future__ import annotations

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda import launch as grids
from epcore.kernels.cuda.launch import activation_code, ceil_div, check, check_axes, check_shape, empty, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.squeeze_excite import Saved, output_shape

SOURCE = Source(
    "squeeze_excite",
    (
        "squeeze_excite_sums<{T},{V},false>",
        "squeeze_excite_sums<{T},{V},true>",
        "squeeze_excite_gate<{T}>",
        "squeeze_excite_scale<{T},{V},false>",
        "squeeze_excite_scale<{T},{V},true>",
        "squeeze_excite_gate_gradient<{T}>",
        "squeeze_excite_weight_gradient<{T}>",
    ),
)
SHARED_BYTES = 48 * 1024  # what a block may use without asking


def forward(
    x: Array, w_reduce: Array, b_reduce: Array, w_expand: Array, b_expand: Array, *, activation: str = "swish"
) -> tuple[Array, Saved]:
    T = check("squeeze_excite", x=x, w_reduce=w_reduce, b_reduce=b_reduce, w_expand=w_expand, b_expand=b_expand)
    mean, reduced, gate = excitation(x, w_reduce, b_reduce, w_expand, b_expand, activation=activation)
    y = empty(x.shape, x)
    N, H, W, C = x.shape
    V = width(C, x, gate, y)
    launch(SOURCE, T, f"squeeze_excite_scale<{T},{V},false>", grids.rows(H * W, C, V, samples=N), x, gate, None, y, H * W, C)
    return y, (x, w_reduce, w_expand, mean, reduced, gate)


def excitation(
    x: Array, w_reduce: Array, b_reduce: Array, w_expand: Array, b_expand: Array, *, activation: str = "swish"
) -> tuple[Array, Array, Array]:
    """mean (N,C), reduced (N,R) before the activation, gate (N,C); the gate is not yet applied to x."""
    T = check("squeeze_excite", x=x, w_reduce=w_reduce, b_reduce=b_reduce, w_expand=w_expand, b_expand=b_expand)
    check_axes("squeeze_excite", "x", x)
    output_shape(x.shape, w_reduce.shape, b_reduce.shape, w_expand.shape, b_expand.shape, activation=activation)
    N, H, W, C = x.shape
    R = w_reduce.shape[3]
    shared = _shared_bytes(C, R, x)
    mean, reduced, gate = empty((N, C), x), empty((N, R), x), empty((N, C), x)
    partial, count = _sums(T, x, None)
    kind, parameter = activation_code(activation)
    launch(
        SOURCE, T, f"squeeze_excite_gate<{T}>", ((N,), (256,)),
        partial, w_reduce, b_reduce, w_expand, b_expand, mean, reduced, gate, kind, x.dtype.type(parameter), H * W, count, C, R,
        shared_bytes=shared,
    )  # fmt: skip
    return mean, reduced, gate


def backward(dy: Array, saved: Saved, *, activation: str = "swish") -> tuple[Array, Array, Array, Array, Array]:
    x, w_reduce, w_expand, mean, reduced, gate = saved
    T = check("squeeze_excite", dy=dy, x=x, w_reduce=w_reduce, w_expand=w_expand, mean=mean, reduced=reduced, gate=gate)
    check_shape("squeeze_excite", "dy", dy, x.shape)
    N, H, W, C = x.shape
    R = w_reduce.shape[3]
    kind, value = activation_code(activation)
    parameter = x.dtype.type(value)
    du, dreduced, dmean = empty((N, C), x), empty((N, R), x), empty((N, C), x)
    partial, count = _sums(T, x, dy)
    launch(
        SOURCE, T, f"squeeze_excite_gate_gradient<{T}>", ((N,), (256,)),
        partial, w_reduce, w_expand, reduced, gate, du, dreduced, dmean, kind, parameter, count, C, R,
        shared_bytes=_shared_bytes(C, R, x),
    )  # fmt: skip
    dw_reduce, db_reduce, dw_expand, db_expand = empty((1, 1, C, R), x), empty((R,), x), empty((1, 1, R, C), x), empty((C,), x)
    launch(
        SOURCE, T, f"squeeze_excite_weight_gradient<{T}>", ((ceil_div(C, 128), R), (128,)),
        mean, reduced, du, dreduced, dw_reduce, db_reduce, dw_expand, db_expand, kind, parameter, N, C, R,
    )  # fmt: skip
    dx = empty(x.shape, x)
    V = width(C, dy, gate, dmean, dx)
    launch(SOURCE, T, f"squeeze_excite_scale<{T},{V},true>", grids.rows(H * W, C, V, samples=N), dy, gate, dmean, dx, H * W, C)
    return dx, dw_reduce, db_reduce, dw_expand, db_expand


def _sums(T: str, x: Array, dy: Array | None) -> tuple[Array, int]:
    """Partial sums over pixels of x, or of dy * x, and the number of slices."""
    N, H, W, C = x.shape
    V = width(C, x, dy)
    layout, per_slice = grids.slices(H * W, C, V, samples=N)
    partial = empty((N, layout[0][1], C), x, np.float64)
    product = str(dy is not None).lower()
    launch(SOURCE, T, f"squeeze_excite_sums<{T},{V},{product}>", layout, x, dy, partial, H * W, per_slice, C)
    return partial, layout[0][1]


def _shared_bytes(C: int, R: int, x: Array) -> int:
    size: int = (C + R) * x.itemsize
    if size > SHARED_BYTES:
        raise ValueError(f"squeeze_excite: x has {C} channels and w_reduce {R}: together at most {SHARED_BYTES // x.itemsize}")
    return size
