"""Batch normalisation over the last axis, with Keras' running statistics.

Equation:
    z = (x - mean) * r,   r = 1 / sqrt(variance + epsilon)
    y = gamma * z + beta
    training:   mean = 1/M * sum x,  variance = 1/M * sum (x - mean)^2  of the batch
    inference:  mean = running_mean,  variance = running_variance

Symbols:
    x, z, y (N,H,W,C), the others (C,), everything for one channel at a time. sum: over the channel's M = N*H*W values. The
    variance is biased (divided by M, not M - 1).

Derivation:
    gamma and beta stand in every y of their channel, times z and times 1:
        dbeta = sum dy,     dgamma = sum dy * z
    and z gets dz = gamma * dy.

    Inference: mean and r are constants, x reaches the loss through its own z only:
        dx = dz * r = gamma * r * dy
    Training: x reaches the loss by three paths, as itself, through the variance and through the mean.
        variance:  z = (x - mean) * r and dr/dvariance = -r^3 / 2, hence
                   dvariance = sum dz * (x - mean) * (-r^3 / 2)
                   and one x moves it by 2 * (x - mean) / M
        mean:      every z falls by r as the mean rises, hence
                   dmean = -r * sum dz
                   and one x moves it by 1 / M. The mean stands in the variance too, but there the path vanishes: d variance /
                   d mean = -2/M * sum (x - mean) = 0, for deviations from their own mean sum to 0.
        all three: dx = dz * r + dvariance * 2 * (x - mean) / M + dmean / M
    Now put in x - mean = z / r, dz = gamma * dy, and the sums that are there already, sum dz = gamma * dbeta and
    sum dz * z = gamma * dgamma:
        dvariance * 2 * (x - mean) / M = (gamma * dgamma / r) * (-r^3 / 2) * 2 * (z / r) / M = -gamma * r * z * dgamma / M
        dmean / M                      = -gamma * r * dbeta / M
    dx = gamma * r * (dy - dbeta / M - z * dgamma / M)
    that is: dy without its components along 1 and along z, because y does not change when all x are shifted or scaled.

    The running statistics are state, not variables: they have no gradient.

    A batch in parts: M and the four sums over the channel are all that one part has to know of the others. `reduce` adds them
    up; dgamma and dbeta stay those of the part, for they are added up with all other gradients.

Saved:
    x, gamma, mean, variance
    x and gamma are held by others anyway; the two statistics are 2 C values. z is recomputed: one multiply-add an element is
    cheaper than M*C stored floats.

Cost:
    Every element once forward, times a scale and plus a shift; once backward: z two operations, dbeta one, dgamma two, dx one
    more. What a batch's statistics cost on top is said by the counting convention, since it depends on training.

Source:
    Ioffe and Szegedy 2015, Algorithm 1 and the chain rule after it. Running statistics and epsilon: Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from epcore.base.arrays import Array, array_module
from epcore.op import Cost, Kept, Op
from epcore.shapes import Shape

EPSILON = 1e-3
MOMENTUM = 0.99

Reduce = Callable[[Array], Array]  # a float64 array of one part of the batch -> the sum over all parts


def forward(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_variance: Array,
    *,
    epsilon: float = EPSILON,
    training: bool = False,
    reduce: Reduce | None = None,
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """x (N,H,W,C), the others (C,) -> y as x. The running statistics are read, never written: see `update_running`.

    reduce: where x is a part of the batch that is normalised (of the batch statistics only, so in training).
    """
    xp = array_module(x, gamma, beta, running_mean, running_variance)
    output_shape(x.shape, gamma.shape, beta.shape, running_mean.shape, running_variance.shape)
    if training:
        (mean,) = _batch_means([x], reduce)
        (variance,) = _batch_means([xp.square(x - mean)], reduce)
    else:
        mean, variance = running_mean, running_variance
    # (N,H,W,C) * (C,)
    y = (x - mean) * (gamma / xp.sqrt(variance + x.dtype.type(epsilon))) + beta
    return y, (x, gamma, mean, variance)


def backward(
    dy: Array,
    saved: tuple[Array, Array, Array, Array],
    *,
    epsilon: float = EPSILON,
    training: bool = False,
    reduce: Reduce | None = None,
) -> tuple[Array, Array, Array, None, None]:
    """dy as y -> (dx, dgamma, dbeta, None, None): the running statistics are state, not a variable. reduce: as forward's."""
    x, gamma, mean, variance = saved
    xp = array_module(dy, x, gamma)
    M = prod(x.shape[:3])
    r = 1 / xp.sqrt(variance + x.dtype.type(epsilon))
    z = (x - mean) * r  # (N,H,W,C) * (C,)
    dbeta = dy.sum(axis=(0, 1, 2), dtype=xp.float64).astype(x.dtype)
    # (N,H,W,C) * (N,H,W,C), summed to (C,)
    dgamma = (dy * z).sum(axis=(0, 1, 2), dtype=xp.float64).astype(x.dtype)
    if not training:
        return gamma * r * dy, dgamma, dbeta, None, None  # (C,) * (N,H,W,C)
    if reduce is None:
        mean_dy, mean_dy_z = dbeta / M, dgamma / M
    else:
        mean_dy, mean_dy_z = _batch_means([dy, dy * z], reduce)
    # (C,) * (N,H,W,C)
    dx = gamma * r * (dy - mean_dy - z * mean_dy_z)
    return dx, dgamma, dbeta, None, None


def _batch_means(arrays: list[Array], reduce: Reduce | None) -> Array:
    """Means (len(arrays),C) of arrays (N,H,W,C) over a batch of which they are a part, in one call of `reduce`.

    Summed in double, as every framework does (also within `epcore.sums.in_one_chain`).
    """
    xp, dtype = array_module(*arrays), arrays[0].dtype
    sums = xp.stack([array.sum(axis=(0, 1, 2), dtype=xp.float64) for array in arrays])
    M = prod(arrays[0].shape[:3])
    if reduce is not None:
        total = reduce(xp.append(sums.ravel(), float(M)))  # exact: M is far below 2^53
        sums, M = total[:-1].reshape(sums.shape), total[-1]
    mean: Array = (sums / M).astype(dtype)
    return mean


def update_running(running: Array, batch: Array, momentum: float = MOMENTUM) -> Array:
    """The running statistic after one training batch, as Keras keeps it: running * m + batch * (1 - m).

    The batch variance goes in biased, as Keras 3 does (TensorFlow's fused kernel, under Keras 2, multiplied it by
    M / (M - 1)).
    """
    followed: Array = running * batch.dtype.type(momentum) + batch * batch.dtype.type(1 - momentum)
    return followed


def output_shape(x: Shape, *parameters: Shape, **attributes: object) -> Shape:
    for name, shape in zip(("gamma", "beta", "running_mean", "running_variance"), parameters, strict=True):
        if shape != (x[-1],):
            raise ValueError(f"batch_norm: {name} has shape {shape}, expected ({x[-1]},)")
    return x


def cost(x: Shape, *parameters: Shape, **attributes: object) -> Cost:
    return Cost(elementwise={"batch_norm": prod(x)}, backward_elementwise={"batch_norm": prod(x)})


def keeps(x: Shape, *parameters: Shape, training: bool = False, **attributes: object) -> tuple[Kept, ...]:
    return (Kept((x[-1],)), Kept((x[-1],))) if training else ()


OP = Op(
    "batch_norm",
    forward,
    backward,
    output_shape,
    cost,
    data=("running_mean", "running_variance"),
    batch_statistics=True,
    operations=(2, 6),
    onnx="BatchNormalization",
    keeps=keeps,
)
