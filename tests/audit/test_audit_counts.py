"""What operators say they cost, against counts made another way: naive loops that compute the operator, and PyTorch's counter.

The loops are checked to give the operator's values, so what they count is the operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

import epcore
from epcore.audit.conventions import CONVENTIONS
from epcore.audit.count import count_training
from epcore.graph import Graph
from epcore.models.configs import scaled_config
from epcore.models.efficientpose import build_efficientpose
from epcore.models.openpose import build_openpose
from epcore.ops import OPS
from epcore.shapes import same_padding
from epcore.tape import Tape

Count = Counter[str]


def pixels(*sizes: int) -> Iterator[tuple[int, ...]]:
    return product(*map(range, sizes))


def at(x: np.ndarray, n: int, i: int, j: int, c: int) -> float:
    """x with zeros around it."""
    return float(x[n, i, j, c]) if 0 <= i < x.shape[1] and 0 <= j < x.shape[2] else 0.0


def conv2d(count: Count, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, stride: int = 1) -> np.ndarray:
    top, left = (same_padding(x.shape[a + 1], w.shape[a], stride)[0] for a in (0, 1))
    y = np.zeros((x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride), w.shape[3]))
    for n, i, j, o in pixels(*y.shape):
        for u, v, c in pixels(*w.shape[:3]):
            y[n, i, j, o] += at(x, n, i * stride + u - top, j * stride + v - left, c) * w[u, v, c, o]
            count["macs"] += 1
        if b is not None:
            y[n, i, j, o] += b[o]
            count["bias"] += 1
    return y


def depthwise_conv2d(count: Count, x: np.ndarray, w: np.ndarray, *, stride: int = 1) -> np.ndarray:
    top, left = (same_padding(x.shape[a + 1], w.shape[a], stride)[0] for a in (0, 1))
    y = np.zeros((x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride), x.shape[3]))
    for n, i, j, c in pixels(*y.shape):
        for u, v in pixels(*w.shape[:2]):
            y[n, i, j, c] += at(x, n, i * stride + u - top, j * stride + v - left, c) * w[u, v, c]
            count["macs"] += 1
    return y


def conv_transpose2d(count: Count, x: np.ndarray, w: np.ndarray, b: np.ndarray, *, stride: int = 2) -> np.ndarray:
    crop = max(w.shape[0] - stride, 0) // 2
    y = np.zeros((x.shape[0], x.shape[1] * stride, x.shape[2] * stride, w.shape[2]))
    for n, i, j, c in pixels(*x.shape):
        for u, v, o in pixels(*w.shape[:3]):
            count["macs"] += 1
            p, q = i * stride + u - crop, j * stride + v - crop
            if 0 <= p < y.shape[1] and 0 <= q < y.shape[2]:
                y[n, p, q, o] += x[n, i, j, c] * w[u, v, o, c]
    for index in pixels(*y.shape):
        y[index] += b[index[3]]
        count["bias"] += 1
    return y


def elementwise(kind: str, function: Callable[..., float]) -> Callable[..., np.ndarray]:
    """A loop over every element of the first array; the others are channel vectors or arrays like it."""

    def run(count: Count, x: np.ndarray, *others: np.ndarray, **attributes: Any) -> np.ndarray:
        y = np.zeros_like(x)
        for index in pixels(*x.shape):
            y[index] = function(x[index], *(np.broadcast_to(other, x.shape)[index] for other in others), **attributes)
            count[kind] += 1
        return y

    return run


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def pool(kind: str, reduce: Callable[[list[float]], float]) -> Callable[..., np.ndarray]:
    def run(count: Count, x: np.ndarray, *, size: int = 2, stride: int | None = None) -> np.ndarray:
        N, H, W, C = x.shape
        y = np.zeros((N, H // size, W // size, C))
        for n, i, j, c in pixels(*y.shape):
            window = [float(x[n, i * size + u, j * size + v, c]) for u, v in pixels(size, size)]
            count[kind] += len(window)
            y[n, i, j, c] = reduce(window)
        return y

    return run


def global_mean(count: Count, x: np.ndarray) -> np.ndarray:
    sums = np.zeros((x.shape[0], 1, 1, x.shape[3]))
    for n, i, j, c in pixels(*x.shape):
        sums[n, 0, 0, c] += x[n, i, j, c]
        count["mean"] += 1
    return sums / (x.shape[1] * x.shape[2])


def squeeze_excite(
    count: Count, x: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray, *, activation: str = "swish"
) -> np.ndarray:
    beta = {"swish": 1.0, "eswish": 1.25}[activation]
    hidden = conv2d(count, global_mean(count, x), w1, b1)
    hidden = elementwise(activation, lambda v: beta * v * sigmoid(v))(count, hidden)
    gate = elementwise("sigmoid", sigmoid)(count, conv2d(count, hidden, w2, b2))
    return elementwise("se_scale", lambda v, g: v * g)(count, x, gate)


def concat(count: Count, *xs: np.ndarray) -> np.ndarray:
    y: list[float] = []
    for n, i, j in pixels(*xs[0].shape[:3]):
        for x in xs:
            for c in range(x.shape[3]):
                y.append(float(x[n, i, j, c]))
                count["concat"] += 1
    return np.array(y).reshape(*xs[0].shape[:3], -1)


def mse(count: Count, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    return elementwise("mse", lambda p, t: (p - t) ** 2)(count, prediction, target).mean()


NAIVE: dict[str, Callable[..., np.ndarray]] = {
    "conv2d": conv2d,
    "depthwise_conv2d": depthwise_conv2d,
    "conv_transpose2d": conv_transpose2d,
    "batch_norm": elementwise("batch_norm", lambda x, g, b, m, v: (x - m) / np.sqrt(v + 1e-3) * g + b),
    "swish": elementwise("swish", lambda x: x * sigmoid(x)),
    "eswish": elementwise("eswish", lambda x: 1.25 * x * sigmoid(x)),
    "sigmoid": elementwise("sigmoid", sigmoid),
    "relu": elementwise("relu", lambda x, maximum: min(max(x, 0.0), maximum)),
    "prelu": elementwise("prelu", lambda x, a: x if x > 0 else a * x),
    "max_pool": pool("max_pool", max),
    "avg_pool": pool("avg_pool", lambda window: sum(window) / len(window)),
    "global_mean": global_mean,
    "squeeze_excite": squeeze_excite,
    "add": elementwise("add", lambda a, b: a + b),
    "multiply": elementwise("multiply", lambda a, b: a * b),
    "concat": concat,
    "drop_connect": elementwise("drop_connect", lambda x, mask, rate: x * mask / (1 - rate)),
    "mse": mse,
}
CASES: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    ("conv2d", [(2, 5, 4, 3), (3, 3, 3, 2)], {"stride": 2}),
    ("conv2d", [(1, 3, 5, 4), (1, 1, 4, 3), (3,)], {}),
    ("depthwise_conv2d", [(2, 5, 6, 3), (5, 5, 3)], {"stride": 2}),
    ("depthwise_conv2d", [(1, 4, 3, 2), (3, 3, 2)], {}),
    ("conv_transpose2d", [(2, 3, 2, 3), (4, 4, 2, 3), (2,)], {"stride": 2}),
    ("batch_norm", [(2, 3, 2, 3), (3,), (3,), (3,), (3,)], {}),
    ("swish", [(2, 3, 2, 3)], {}),
    ("eswish", [(1, 3, 4, 2)], {}),
    ("sigmoid", [(1, 2, 2, 3)], {}),
    ("relu", [(1, 3, 3, 2)], {"maximum": 6.0}),
    ("prelu", [(2, 2, 3, 3), (3,)], {}),
    ("max_pool", [(1, 4, 6, 2)], {}),
    ("avg_pool", [(2, 5, 4, 3)], {"size": 2}),
    ("global_mean", [(2, 3, 4, 3)], {}),
    ("squeeze_excite", [(2, 3, 2, 4), (1, 1, 4, 2), (2,), (1, 1, 2, 4), (4,)], {"activation": "eswish"}),
    ("add", [(1, 2, 3, 4), (1, 2, 3, 4)], {}),
    ("multiply", [(2, 2, 3, 4), (2, 1, 1, 4)], {}),
    ("concat", [(1, 2, 3, 4), (1, 2, 3, 1), (1, 2, 3, 2)], {}),
    ("drop_connect", [(3, 2, 2, 3), (3, 1, 1, 1)], {"rate": 0.2}),
    ("mse", [(2, 2, 3, 2), (2, 2, 3, 2)], {}),
]


def test_every_operator_has_a_case() -> None:
    assert {name for name, _, _ in CASES} == set(OPS)


@pytest.mark.parametrize(("name", "shapes", "attributes"), CASES)
def test_naive_loops(name: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any], rng: np.random.Generator) -> None:
    arrays = [rng.normal(size=shape) for shape in shapes]
    if OPS[name].batch_statistics:
        arrays[4] = np.abs(arrays[4])
    if OPS[name].identity_at_inference:
        arrays[1] = np.array([1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)
    count: Count = Counter()
    y = NAIVE[name](count, *arrays, **attributes)
    np.testing.assert_allclose(y, OPS[name].forward(*arrays, **attributes)[0], rtol=1e-12, atol=1e-12)
    cost = OPS[name].cost(*shapes, **attributes)
    assert {"macs": cost.macs, **cost.elementwise} == {"macs": 0, **count}


@pytest.mark.parametrize("stride", [1, 2])
def test_naive_convolution_gradients(stride: int, rng: np.random.Generator) -> None:
    """Backward visits every tap twice: once for dx, once for dw."""
    x, w, b = rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(3, 3, 3, 2)), rng.normal(size=2)
    y, saved = OPS["conv2d"].forward(x, w, b, stride=stride)
    dy = rng.normal(size=y.shape)
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    count: Count = Counter()
    top, left = (same_padding(x.shape[a + 1], 3, stride)[0] for a in (0, 1))
    for n, i, j, o in pixels(*dy.shape):
        for u, v, c in pixels(*w.shape[:3]):
            p, q = i * stride + u - top, j * stride + v - left
            dw[u, v, c, o] += at(x, n, p, q, c) * dy[n, i, j, o]
            if 0 <= p < x.shape[1] and 0 <= q < x.shape[2]:
                dx[n, p, q, c] += w[u, v, c, o] * dy[n, i, j, o]
            count["macs"] += 2
        db[o] += dy[n, i, j, o]
        count["bias"] += 1
    for ours, naive in zip(OPS["conv2d"].backward(dy, saved, stride=stride), (dx, dw, db), strict=True):
        np.testing.assert_allclose(ours, naive, rtol=1e-12, atol=1e-12)
    cost = OPS["conv2d"].cost(x.shape, w.shape, b.shape, stride=stride)
    assert (cost.backward_macs, dict(cost.backward_elementwise)) == (count["macs"], {"bias": count["bias"]})


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("name", "shapes", "attributes"), CASES)
def test_every_kind_has_a_price(convention: str, name: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]) -> None:
    cost = OPS[name].cost(*shapes, **attributes)
    rule = CONVENTIONS[convention]
    assert rule.count_forward(cost) >= 0 and rule.count_backward(cost) >= 0


def test_tf_profiler_by_hand() -> None:
    """E-swish and SE on a 2x2x4 map, as TensorFlow sees them: two products an element; mean, products, biases, gate, scale."""
    rule = CONVENTIONS["tf_profiler"]
    assert rule.count_forward(OPS["eswish"].cost((1, 2, 2, 4))) == 2 * 16
    cost = OPS["squeeze_excite"].cost((1, 2, 2, 4), (1, 1, 4, 1), (1,), (1, 1, 1, 4), (4,), activation="eswish")
    assert rule.count_forward(cost) == 16 + (2 * 4 + 1 + 2) + (2 * 4 + 4) + 16


class TestTorch:
    """PyTorch's flop counter (2 x MACs) on every convolution of whole networks; its tensors have shapes and no memory."""

    @pytest.mark.parametrize("graph", [build_efficientpose(scaled_config(7)), build_openpose()], ids=["IV", "OpenPose"])
    def test_convolutions(self, graph: Graph) -> None:
        torch = pytest.importorskip("torch")
        counter = pytest.importorskip("torch.utils.flop_counter")
        shapes, costs = graph.shapes(2), graph.costs(2)
        nodes = [node for node in graph.nodes.values() if node.op in ("conv2d", "depthwise_conv2d", "conv_transpose2d")]
        with counter.FlopCounterMode(display=False) as mode:
            for node in nodes:
                (N, H, W, C), w = shapes[node.inputs[0]], graph.parameters[str(node.parameters[0])].shape
                stride = node.attributes["stride"]
                if node.op == "conv_transpose2d":
                    x = torch.empty(N, C, H, W, device="meta")
                    weight = torch.empty(w[3], w[2], *w[:2], device="meta")
                    torch.nn.functional.conv_transpose2d(x, weight, stride=stride, padding=(w[0] - stride) // 2)
                    continue
                before, after = zip(same_padding(H, w[0], stride), same_padding(W, w[1], stride), strict=True)
                x = torch.empty(N, C, H + before[0] + after[0], W + before[1] + after[1], device="meta")
                groups = C if node.op == "depthwise_conv2d" else 1
                weight = torch.empty(C if groups > 1 else w[3], 1 if groups > 1 else C, *w[:2], device="meta")
                torch.nn.functional.conv2d(x, weight, stride=stride, groups=groups)
        assert len(nodes) > 40
        assert mode.get_total_flops() == 2 * sum(costs[node.name].macs for node in nodes)


class SpyTape(Tape):
    """Adds up the MACs of the gradients that are asked for."""

    macs = 0

    def kernel(self, op: str, arrays: list[Any], attributes: dict[str, Any]) -> Any:
        forward, backward = super().kernel(op, arrays, attributes)
        if op not in ("conv2d", "depthwise_conv2d", "conv_transpose2d", "squeeze_excite"):
            return forward, backward

        def spied(dy: np.ndarray, saved: Any, **keywords: Any) -> Any:
            x, w = arrays[:2]
            if op == "squeeze_excite":
                self.macs += 2 * 2 * x.shape[0] * x.shape[3] * w.shape[3]
            else:
                taps = prod(x.shape) * prod(w.shape[:3]) if op == "conv_transpose2d" else dy.size * prod(w.shape[:-1])
                self.macs += taps * sum(keywords["needs"][:2])
            return backward(dy, saved, **keywords)

        return forward, spied


@pytest.mark.parametrize("frozen", [("upscale",), ("upscale", "high.")])
def test_training_step(frozen: tuple[str, ...], rng: np.random.Generator) -> None:
    """MACs of backward, against the gradients that a real step computes; frozen parts and the picture need none."""
    model = epcore.EfficientPose("I").train().unfreeze().freeze(*frozen)
    tape = SpyTape()
    outputs, _ = model.record(rng.normal(size=(2, 32, 32, 3)).astype(np.float32), tape)
    total = None
    for y in outputs.values():
        loss = tape.apply("mse", y, np.zeros(y.shape, np.float32))
        total = loss if total is None else tape.apply("add", total, loss)
    assert total is not None
    tape.backward(total)
    work = count_training(model.graph, "macs", frozen=frozen, batch=2, input_shape=(32, 32, 3))
    assert work.backward == tape.macs
