"""The convention `flops` against numbers that count what is done with them, forward and backward, operator by operator.

The formulas are those of `epcore/ops`, checked to give its values, on object arrays of `Number`. What happens once a channel
or a picture (folding a batch norm, dividing a gradient by the number of pixels) is done on plain floats and not counted, as
the convention has it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from epcore.audit.conventions import CONVENTIONS
from epcore.audit.count import count_training
from epcore.graph import INPUT, GraphBuilder
from epcore.models.configs import scaled_config
from epcore.models.efficientpose import build_efficientpose
from epcore.models.openpose import build_openpose
from epcore.ops import OPS
from epcore.ops.batch_norm import EPSILON


class Number:
    """A float; every operation and comparison adds one to `count`."""

    count: ClassVar[int] = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value

    def __neg__(self) -> Number:
        Number.count += 1
        return Number(-self.value)

    def exp(self) -> Number:  # what np.exp calls on an object array
        Number.count += 1
        return Number(math.exp(self.value))


def _operation(function: Callable[..., float], swapped: bool = False) -> Callable[..., Number]:
    def method(*operands: Any) -> Number:
        Number.count += 1
        values = [float(x) for x in operands]
        return Number(function(*(reversed(values) if swapped else values)))

    return method


def _comparison(function: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    def method(a: Any, b: Any) -> bool:
        Number.count += 1
        return function(float(a), float(b))

    return method


for _name in ("add", "sub", "mul", "truediv"):
    setattr(Number, f"__{_name}__", _operation(getattr(operator, _name)))
    setattr(Number, f"__r{_name}__", _operation(getattr(operator, _name), swapped=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Number, f"__{_name}__", _comparison(getattr(operator, _name)))

Values = np.ndarray  # of Number


def numbers(x: np.ndarray) -> Values:
    return np.array([Number(float(value)) for value in x.ravel()], object).reshape(x.shape)


def plain(x: Any) -> np.ndarray:
    """Back to floats: what follows is not counted."""
    return np.asarray(x).astype(np.float64)


def accumulate(x: Values, axes: tuple[int, ...]) -> Values:
    """A gradient's sum, which starts from zero: one addition an element."""
    return np.add.reduce(x, axis=axes, initial=0, keepdims=True)


def mean(x: Values, axes: tuple[int, ...]) -> Values:
    """Starts from the first element and ends with a division: one operation an element as well."""
    total = np.add.reduce(x, axis=axes, keepdims=True)
    return total / (x.size // total.size)


def product(x: Values, w: Any) -> Values:
    """(..., K) times (K, M): a multiplication and an addition each."""
    return np.add.reduce(x[..., :, None] * w, axis=-2, initial=0)


def sigmoid(x: Values) -> Values:
    return 1 / (1 + np.exp(-x))


def swish_gradient(dy: Values, x: Values) -> Values:
    s = sigmoid(x)
    return dy * s * (1 + x * (1 - s))


def windows(x: Values) -> Values:
    """(N,2h,2w,C) -> (N,h,w,C,4)."""
    N, H, W, C = x.shape
    return x.reshape(N, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 5, 2, 4).reshape(N, H // 2, W // 2, C, 4)


def unwindows(x: Values) -> Values:
    N, h, w, C, _ = x.shape
    return x.reshape(N, h, w, C, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(N, 2 * h, 2 * w, C)


class Conv2d:
    """1x1: every tap falls on the picture."""

    @staticmethod
    def forward(x: Values, w: Values, b: Values) -> Values:
        return product(x, w[0, 0]) + b

    @staticmethod
    def backward(dy: Values, x: Values, w: Values, b: Values) -> tuple[Any, ...]:
        dw = accumulate(x[..., :, None] * dy[..., None, :], (0, 1, 2))
        return product(dy, w[0, 0].T), dw.reshape(w.shape), accumulate(dy, (0, 1, 2)).reshape(b.shape)


class BatchNorm:
    """On running statistics."""

    @staticmethod
    def forward(x: Values, gamma: Values, beta: Values, running_mean: Values, variance: Values) -> Values:
        scale = plain(gamma) / np.sqrt(plain(variance) + EPSILON)
        return x * scale + (plain(beta) - plain(running_mean) * scale)

    @staticmethod
    def backward(dy: Values, x: Values, gamma: Values, beta: Values, running_mean: Values, variance: Values) -> tuple[Any, ...]:
        inverse = 1 / np.sqrt(plain(variance) + EPSILON)
        z = (x - plain(running_mean)) * inverse
        dgamma, dbeta = accumulate(dy * z, (0, 1, 2)), accumulate(dy, (0, 1, 2))
        return dy * (plain(gamma) * inverse), dgamma.reshape(-1), dbeta.reshape(-1), None, None


class Sigmoid:
    """Backward has y."""

    forward = staticmethod(sigmoid)

    @staticmethod
    def backward(dy: Values, x: Values) -> tuple[Any, ...]:
        y = numbers(1 / (1 + np.exp(-plain(x))))
        return (dy * y * (1 - y),)


class PRelu:
    @staticmethod
    def forward(x: Values, alpha: Values) -> Values:
        scaled = alpha * x
        return np.where(x > 0, x, scaled)

    @staticmethod
    def backward(dy: Values, x: Values, alpha: Values) -> tuple[Any, ...]:
        scaled = alpha * dy
        return np.where(x > 0, dy, scaled), accumulate(np.minimum(x, 0) * dy, (0, 1, 2)).reshape(alpha.shape)


class MaxPool:
    @staticmethod
    def forward(x: Values) -> Values:
        return np.maximum.reduce(windows(x), axis=-1, initial=-math.inf)

    @staticmethod
    def backward(dy: Values, x: Values) -> tuple[Any, ...]:
        dx = np.zeros((*dy.shape, 4), object)
        winners = plain(windows(x)).argmax(-1)  # saved by forward
        np.put_along_axis(dx, winners[..., None], (0 + dy)[..., None], -1)
        return (unwindows(dx),)


class SqueezeExcite:
    """Backward has what forward knew: hidden maps before and after their activation, the gate."""

    @staticmethod
    def run(x: Values, w1: Values, b1: Values, w2: Values, b2: Values) -> tuple[Values, Values, Values]:
        hidden = product(mean(x, (1, 2)), w1[0, 0]) + b1
        active = 1.25 * hidden * sigmoid(hidden)
        return hidden, active, sigmoid(product(active, w2[0, 0]) + b2)

    @classmethod
    def forward(cls, x: Values, *parameters: Values) -> Values:
        return x * cls.run(x, *parameters)[2]

    @classmethod
    def backward(cls, dy: Values, x: Values, w1: Values, b1: Values, w2: Values, b2: Values) -> tuple[Any, ...]:
        before = Number.count
        hidden, active, gate = cls.run(x, w1, b1, w2, b2)
        means = numbers(plain(x).mean((1, 2), keepdims=True))
        Number.count = before
        dgate = accumulate(dy * x, (1, 2))
        dz = dgate * gate * (1 - gate)
        dhidden = 1.25 * swish_gradient(product(dz, w2[0, 0].T), hidden)
        dmean = plain(product(dhidden, w1[0, 0].T)) / (x.shape[1] * x.shape[2])
        dw1 = accumulate(means[..., :, None] * dhidden[..., None, :], (0, 1, 2)).reshape(w1.shape)
        dw2 = accumulate(active[..., :, None] * dz[..., None, :], (0, 1, 2)).reshape(w2.shape)
        db1, db2 = (accumulate(d, (0, 1, 2)).reshape(-1) for d in (dhidden, dz))
        return dy * gate + dmean, dw1, db1, dw2, db2


class Of:
    """An operator of two short formulas."""

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., tuple[Any, ...]]) -> None:
        self.forward, self.backward = forward, backward


def average_gradient(dy: Values, x: Values) -> tuple[Any, ...]:
    return (unwindows(np.repeat(dy[..., None], 4, -1) / 4),)


X, C3 = (2, 2, 4, 3), (3,)
OPERATORS: dict[str, tuple[Any, list[tuple[int, ...]], dict[str, Any]]] = {
    "conv2d": (Conv2d, [X, (1, 1, 3, 2), (2,)], {}),
    "batch_norm": (BatchNorm, [X, C3, C3, C3, C3], {}),
    "sigmoid": (Sigmoid, [X], {}),
    "swish": (Of(lambda x: x * sigmoid(x), lambda dy, x: (swish_gradient(dy, x),)), [X], {}),
    "eswish": (Of(lambda x: 1.25 * x * sigmoid(x), lambda dy, x: (1.25 * swish_gradient(dy, x),)), [X], {}),
    "relu": (Of(lambda x: np.maximum(x, 0), lambda dy, x: (np.where(x > 0, dy, 0),)), [X], {}),
    "prelu": (PRelu, [X, C3], {}),
    "max_pool": (MaxPool, [X], {}),
    "avg_pool": (Of(lambda x: mean(windows(x), (-1,))[..., 0], average_gradient), [X], {}),
    "global_mean": (Of(lambda x: mean(x, (1, 2)), lambda dy, x: (np.broadcast_to(dy, x.shape) / 8,)), [X], {}),
    "squeeze_excite": (SqueezeExcite, [X, (1, 1, 3, 2), (2,), (1, 1, 2, 3), C3], {"activation": "eswish"}),
    "add": (Of(lambda a, b: a + b, lambda dy, a, b: (dy, dy)), [X, X], {}),
    "multiply": (Of(lambda a, b: a * b, lambda dy, a, b: (dy * b, dy * a)), [X, X], {}),
    "concat": (Of(lambda *xs: np.concatenate(xs, -1), lambda dy, a, b: (dy[..., :3], dy[..., 3:])), [X, (2, 2, 4, 2)], {}),
    "drop_connect": (
        Of(lambda x, mask: x * (plain(mask) / 0.8), lambda dy, x, mask: (dy * (plain(mask) / 0.8), None)),
        [X, (2, 1, 1, 1)],
        {"rate": 0.2},
    ),
    "mse": (
        Of(
            lambda p, t: mean(np.array([d * d for d in (p - t).ravel()]), (0,))[0],
            lambda dy, p, t: ((p - t) * (2 * float(dy) / p.size), None, None),
        ),
        [X, X],
        {},
    ),
}


def counted(run: Callable[[], Any]) -> tuple[Any, int]:
    before = Number.count
    result = run()
    return result, Number.count - before


def test_every_operator_is_here() -> None:
    """But for the two whose only work is MACs and bias, priced by conv2d and counted in test_audit_counts."""
    assert set(OPS) - set(OPERATORS) == {"depthwise_conv2d", "conv_transpose2d"}


@pytest.mark.parametrize("name", OPERATORS)
def test_flops(name: str, rng: np.random.Generator) -> None:
    formula, shapes, attributes = OPERATORS[name]
    arrays = [rng.normal(size=shape) for shape in shapes]
    if OPS[name].batch_statistics:
        arrays[4] = np.abs(arrays[4])
    if OPS[name].identity_at_inference:
        arrays[1] = np.array([1.0, 0.0]).reshape(2, 1, 1, 1)
    expected, saved = OPS[name].forward(*arrays, **attributes)
    dy = rng.normal(size=np.shape(expected))
    y, forward = counted(lambda: formula.forward(*map(numbers, arrays)))
    gradients, backward = counted(lambda: formula.backward(numbers(dy), *map(numbers, arrays)))

    np.testing.assert_allclose(plain(y), expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(gradients, OPS[name].backward(dy, saved, **attributes), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(plain(ours), theirs, rtol=1e-12, atol=1e-12)
    cost = OPS[name].cost(*shapes, **attributes)
    flops = CONVENTIONS["flops"]
    assert (flops.count_forward(cost), flops.count_backward(cost)) == (forward, backward)


def test_training_step_of_a_batch_norm(rng: np.random.Generator) -> None:
    """Batch statistics and their part of dx: the whole step, with its squared error, number by number."""
    builder = GraphBuilder((4, 2, 3))
    graph = builder.graph({"y": builder.batch_norm("bn", INPUT)})
    x, target, gamma, beta = (rng.normal(size=shape) for shape in ((2, 4, 2, 3), (2, 4, 2, 3), C3, C3))
    axes, M = (0, 1, 2), 16
    unused = np.zeros(3), np.ones(3)

    def forward() -> Any:
        a = numbers(x)
        mu = plain(mean(a, axes))
        d = a - mu
        variance = plain(mean(np.array([v * v for v in d.ravel()]).reshape(d.shape), axes))
        scale = gamma / np.sqrt(variance + EPSILON)
        y = a * scale + (beta - mu * scale)
        e = y - target
        return y, mu, variance, mean(np.array([v * v for v in e.ravel()]), (0,))

    (y, mu, variance, _), forward_count = counted(forward)
    expected, saved = OPS["batch_norm"].forward(x, gamma, beta, *unused, epsilon=EPSILON, training=True)
    np.testing.assert_allclose(plain(y), expected, rtol=1e-12, atol=1e-12)

    def backward() -> Any:
        dy = (numbers(plain(y)) - target) * (2 / x.size)
        inverse = 1 / np.sqrt(variance + EPSILON)
        z = (numbers(x) - mu) * inverse
        dgamma, dbeta = accumulate(dy * z, axes), accumulate(dy, axes)
        return (dy - plain(dbeta) / M - z * (plain(dgamma) / M)) * (gamma * inverse), dgamma, dbeta

    (dx, dgamma, dbeta), backward_count = counted(backward)
    dy = (expected - target) * (2 / x.size)
    theirs = OPS["batch_norm"].backward(dy, saved, epsilon=EPSILON, training=True)
    for ours, theirs_one in zip((dx, dgamma.reshape(-1), dbeta.reshape(-1)), theirs, strict=False):
        np.testing.assert_allclose(plain(ours), theirs_one, rtol=1e-11, atol=1e-13)
    work = count_training(graph, "flops", frozen=(), batch=2)
    assert (work.forward, work.backward) == (forward_count, backward_count)
    assert work.step == forward_count + backward_count
    frozen = count_training(graph, "flops", frozen=("bn",), batch=2)  # running statistics, and no gradient anywhere
    assert (frozen.forward, frozen.backward) == (x.size * (2 + 3), 0)


def test_only_wanted_gradients_of_a_convolution() -> None:
    """A 1x1 convolution of the picture, 8 pixels from 3 to 2 channels: no dx, and db only where the bias is trained."""
    builder = GraphBuilder((4, 2, 3))
    graph = builder.graph({"y": builder.conv2d("c", INPUT, 2, bias=True)})
    error, dw, db = 2 * 16, 2 * 8 * 3 * 2, 16
    assert count_training(graph, "flops", frozen=()).backward == error + dw + db
    assert count_training(graph, "flops", frozen=("c/bias",)).backward == error + dw
    assert count_training(graph, "flops", frozen=("c/kernel",)).backward == error + db


@pytest.mark.parametrize("graph", [build_efficientpose(scaled_config(0)), build_openpose()], ids=["RT", "OpenPose"])
def test_sums_of_gradients_are_small(graph: Any) -> None:
    """What the tape adds where a map has several readers is in no convention; docs/counting.md says below 0.1 % of backward."""
    shapes = graph.shapes()
    readers = [name for node in graph.nodes.values() for name in node.inputs if name != INPUT]
    sums = sum((readers.count(name) - 1) * math.prod(shapes[name]) for name in set(readers))
    assert 0 < sums < 1e-3 * count_training(graph, "flops").backward
