"""Batch normalisation over the last axis (Ioffe and Szegedy 2015), with Keras' running statistics.

    training:   mean[c], variance[c] over N,H,W of the batch (variance biased: divided by M = N*H*W)
    inference:  mean, variance are the running statistics
    y = gamma * z + beta,      z = (x - mean) / sqrt(variance + epsilon)

Derivative: dbeta = sum dy, dgamma = sum dy * z. At inference dx = dy * gamma / sqrt(variance + epsilon). In training x
also moves the mean and the variance; with r = 1/sqrt(variance + epsilon), d mean/dx = 1/M and d variance/dx =
2 (x - mean) / M, the chain rule through both collects into

    dx = gamma * r * (dy - dbeta / M - z * dgamma / M)

that is: dy with its components along 1 and along z removed, because y does not change when x shifts or scales.

Saved: x, gamma and the C-sized statistics. z is recomputed: one multiply-add an element is cheaper than M*C stored floats.
"""

from __future__ import annotations

from math import prod

from epcore.backend import Array, array_module
from epcore.op import Cost, Op
from epcore.shapes import Shape

EPSILON = 1e-3
MOMENTUM = 0.99


def forward(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_variance: Array,
    *,
    epsilon: float = EPSILON,
    training: bool = False,
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """x (N,H,W,C), the others (C,) -> y as x. The running statistics are read, never written: see `update_running`."""
    xp = array_module(x, gamma, beta, running_mean, running_variance)
    output_shape(x.shape, gamma.shape, beta.shape, running_mean.shape, running_variance.shape)
    if training:  # in double, as every framework sums them (also within `epcore.sums.in_one_chain`)
        mean = x.mean(axis=(0, 1, 2), dtype=xp.float64).astype(x.dtype)
        variance = xp.square(x - mean).mean(axis=(0, 1, 2), dtype=xp.float64).astype(x.dtype)
    else:
        mean, variance = running_mean, running_variance
    y = (x - mean) * (gamma / xp.sqrt(variance + x.dtype.type(epsilon))) + beta
    return y, (x, gamma, mean, variance)


def backward(
    dy: Array, saved: tuple[Array, Array, Array, Array], *, epsilon: float = EPSILON, training: bool = False
) -> tuple[Array, Array, Array, None, None]:
    """dy as y -> (dx, dgamma, dbeta, None, None): the running statistics are state, not a variable."""
    x, gamma, mean, variance = saved
    xp = array_module(dy, x, gamma)
    M = prod(x.shape[:3])
    r = 1 / xp.sqrt(variance + x.dtype.type(epsilon))
    z = (x - mean) * r
    dbeta = dy.sum(axis=(0, 1, 2), dtype=xp.float64).astype(x.dtype)
    dgamma = (dy * z).sum(axis=(0, 1, 2), dtype=xp.float64).astype(x.dtype)
    dx = gamma * r * (dy - dbeta / M - z * (dgamma / M)) if training else gamma * r * dy
    return dx, dgamma, dbeta, None, None


def update_running(running: Array, batch: Array, momentum: float = MOMENTUM) -> Array:
    """The running statistic after one training batch, as Keras keeps it: running * m + batch * (1 - m).

    The batch variance goes in biased, as Keras 3 does (TensorFlow's fused kernel, under Keras 2, multiplied it by
    M / (M - 1)).
    """
    return running * batch.dtype.type(momentum) + batch * batch.dtype.type(1 - momentum)


def output_shape(x: Shape, *parameters: Shape, **attributes: object) -> Shape:
    for name, shape in zip(("gamma", "beta", "running_mean", "running_variance"), parameters, strict=True):
        if shape != (x[-1],):
            raise ValueError(f"batch_norm: {name} has shape {shape}, expected ({x[-1]},)")
    return x


def cost(x: Shape, *parameters: Shape, **attributes: object) -> Cost:
    return Cost(elementwise={"batch_norm": prod(x)}, backward_elementwise={"batch_norm": prod(x)})


OP = Op("batch_norm", forward, backward, output_shape, cost)
