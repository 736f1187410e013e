"""Optimizers against their equations written out on scalars, and against PyTorch where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from epcore.train.optimizers import OPTIMIZERS, SGD, Adam, MovingAverage, RMSProp, clip_by_norm, euclidean_norm

GRADIENTS = [0.5, -1.0, 2.0, 0.25, 0.0]
RATES = [0.1, 0.1, 0.02, 0.3, 0.1]


def _run(name: str) -> list[float]:
    values = np.array([1.0])
    optimizer = OPTIMIZERS[name](values)
    path = []
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        optimizer.step(np.array([gradient]), rate)
        path.append(float(values[0]))
    return path


def test_sgd() -> None:
    w, v, expected = 1.0, 0.0, []
    for g, rate in zip(GRADIENTS, RATES, strict=True):
        v = 0.9 * v - rate * g
        w += v
        expected.append(w)
    assert _run("sgd") == pytest.approx(expected, rel=1e-14)
    assert expected[:2] == pytest.approx([0.95, 1.005])  # by hand: v = -0.05; v = -0.045 + 0.1 = 0.055


def test_adam() -> None:
    w, m1, m2, expected = 1.0, 0.0, 0.0, []
    for t, (g, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        m1 = 0.9 * m1 + 0.1 * g
        m2 = 0.999 * m2 + 0.001 * g * g
        w -= rate * (m1 / (1 - 0.9**t)) / (math.sqrt(m2 / (1 - 0.999**t)) + 1e-7)
        expected.append(w)
    assert _run("adam") == pytest.approx(expected, rel=1e-12)
    assert expected[0] == pytest.approx(0.9)  # the first step is the rate itself, whatever the gradient's size


def test_rmsprop() -> None:
    w, m2, expected = 1.0, 0.0, []
    for g, rate in zip(GRADIENTS, RATES, strict=True):
        m2 = 0.9 * m2 + 0.1 * g * g
        w -= rate * g / (math.sqrt(m2) + 1e-7)
        expected.append(w)
    assert _run("rmsprop") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_against_pytorch(name: str, rng: np.random.Generator) -> None:
    """At a constant rate, where PyTorch's momentum (rate outside) is the same as Keras' (rate inside)."""
    torch = pytest.importorskip("torch")
    start = rng.normal(size=50)
    theirs = torch.nn.Parameter(torch.tensor(start))
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-7),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-7),
    }
    reference = make[name]([theirs])
    values = start.copy()
    ours = OPTIMIZERS[name](values)
    for _ in range(20):
        gradient = rng.normal(size=50)
        theirs.grad = torch.tensor(gradient)
        reference.step()
        ours.step(gradient, 0.01)
    np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_in_place_and_in_single_precision(name: str, rng: np.random.Generator) -> None:
    values = rng.normal(size=10).astype(np.float32)
    address = values.ctypes.data
    optimizer = OPTIMIZERS[name](values)
    gradient = rng.normal(size=10).astype(np.float32)
    kept = gradient.copy()
    optimizer.step(gradient, 0.1)
    assert optimizer.values is values and values.ctypes.data == address
    assert all(array.dtype == np.float32 for array in optimizer.state.values())
    np.testing.assert_array_equal(gradient, kept)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_state_continues_bit_for_bit(name: str, rng: np.random.Generator) -> None:
    gradients = rng.normal(size=(8, 30)).astype(np.float32)
    start = rng.normal(size=30).astype(np.float32)
    whole, first = start.copy(), start.copy()
    one, two = OPTIMIZERS[name](whole), OPTIMIZERS[name](first)
    for gradient in gradients:
        one.step(gradient, 0.1)
    for gradient in gradients[:5]:
        two.step(gradient, 0.1)
    second = first.copy()
    three = OPTIMIZERS[name](second)
    three.load_state({key: array.copy() for key, array in two.state.items()}, two.steps)
    for gradient in gradients[5:]:
        three.step(gradient, 0.1)
    np.testing.assert_array_equal(second, whole)


def test_state_of_another_optimizer_or_network_is_refused() -> None:
    values = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"momentum.*expected.*mean.*square"):
        Adam(values).load_state(SGD(values).state, 1)
    with pytest.raises(ValueError, match=r"\(5,\), expected \(4,\)"):
        RMSProp(values).load_state(RMSProp(np.zeros(5, np.float32)).state, 1)


def test_clipping() -> None:
    gradient = np.array([3.0, 4.0], np.float32)
    assert euclidean_norm(gradient) == 5.0
    clip_by_norm(gradient, 5.0, 0)
    np.testing.assert_array_equal(gradient, [3, 4])
    clip_by_norm(gradient, 5.0, 10)
    np.testing.assert_array_equal(gradient, [3, 4])
    clip_by_norm(gradient, 5.0, 1)
    np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-7)
    assert euclidean_norm(np.full(4, 1e25, np.float32)) == pytest.approx(2e25)  # whose square is no float32
    assert math.isnan(euclidean_norm(np.array([np.nan, 1], np.float32)))


def test_moving_average() -> None:
    average = MovingAverage(np.array([0.0]), 0.9)
    average.follow(np.array([1.0]), 1)  # decay min(0.9, 2/11)
    assert average.values[0] == pytest.approx(9 / 11)
    average.follow(np.array([0.0]), 1000)  # decay 0.9
    assert average.values[0] == pytest.approx(0.9 * 9 / 11)
    with pytest.raises(ValueError, match="decay is 1"):
        MovingAverage(np.zeros(1), 1)
