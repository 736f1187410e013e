"""Learning rate and sigma against values computed by hand."""

from __future__ import annotations

import math

import pytest

from epcore.train.config import TrainConfig
from epcore.train.schedules import LearningRate, Sigma, final_rate

# lambda_max = 3e-3, so lambda_min = 1e-6; sigma from 3 to 1.
# Equation 5: 10^((log10 3e-3 + log10 1e-6) / 2) * 2^2 = sqrt(3e-9) * 4 = 2.19089023...e-4
FINAL = 4 * 5.477225575051661e-05  # sqrt(3) * sqrt(1e-9) = 1.7320508075688772 * 3.1622776601683795e-05


def test_equation_5() -> None:
    assert final_rate(3e-3, 3.0, 1.0) == pytest.approx(FINAL, rel=1e-12)
    assert final_rate(3e-3, 2.0, 2.0) == pytest.approx(5.477225575051661e-05, rel=1e-12)
    assert final_rate(0.3, 1.0, 1.5) == pytest.approx(0.005477225575051661 / math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1e-6),  # the lower bound at the start
        (1.5, 3e-3**0.985 * FINAL**0.015),  # the upper bound, 1.5 % converged
        (3, 1e-6**0.97 * FINAL**0.03),  # the next cycle's start
        (50, (1e-6**0.5 * FINAL**0.5) / 3 + (3e-3**0.5 * FINAL**0.5) * 2 / 3),  # 2 of 3 epochs into a cycle, falling: 2/3 up
        (99, 1e-6**0.01 * FINAL**0.99),
        (100, FINAL * 2 / 3 + FINAL / 3),
    ],
)
def test_cyclical_learning_rate(epoch: float, expected: float) -> None:
    rate = LearningRate("cyclical", 3e-3, 100, FINAL)
    assert rate(epoch) == pytest.approx(expected, rel=1e-12)


def test_cyclical_in_numbers() -> None:
    """The same in decimals, worked out with 30 digits by logarithms: exp((1 - t) ln bound + t ln FINAL)."""
    rate = LearningRate("cyclical", 3e-3, 100, FINAL)
    assert rate(1.5) == pytest.approx(2.8845212663798e-03, rel=1e-12)
    assert rate(3) == pytest.approx(1.17548913296458e-06, rel=1e-12)
    assert rate(50) == pytest.approx(5.45413947286096e-04, rel=1e-12)
    assert rate(99) == pytest.approx(2.07593816145617e-04, rel=1e-12)


def test_cyclical_stays_between_its_bounds() -> None:
    rate = LearningRate("cyclical", 1e-2, 30, final_rate(1e-2, 2, 2))
    values = [rate(step / 10) for step in range(300)]
    assert min(values) == values[0] == pytest.approx(1e-2 / 3000)
    assert max(values) < 1e-2
    peaks = [rate(3 * cycle + 1.5) for cycle in range(10)]
    troughs = [rate(3 * cycle) for cycle in range(10)]
    assert peaks == sorted(peaks, reverse=True)
    assert troughs == sorted(troughs)


def test_cosine_and_constant() -> None:
    rate = LearningRate("cosine", 0.1, 100, 1.0)
    assert rate(0) == 0
    assert rate(2.5) == pytest.approx(0.05)
    assert rate(50) == pytest.approx(0.05)
    assert rate(75) == pytest.approx(0.1 * (0.5 - 0.5 * math.sqrt(0.5)))
    assert rate(100) == pytest.approx(0)
    assert LearningRate("constant", 0.1, 100, 1.0)(77) == 0.1


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 3.0), (1.5, 3.0), (3, 3.0), (19.99, 3.0), (20, 2.5), (50, 2.0), (79, 1.5), (80, 1.0), (99, 1.0)]
)
def test_sigma_steps(epoch: float, expected: float) -> None:
    """Five levels of 20 epochs: 3, 2.5, 2, 1.5, 1."""
    assert Sigma("steps", 3.0, 1.0, 100)(epoch) == expected


@pytest.mark.parametrize(("epoch", "expected"), [(0, 3.0), (1.5, 3 - 2 / 99), (3, 3 - 6 / 99), (50, 3 - 100 / 99), (99, 1.0)])
def test_sigma_linear(epoch: float, expected: float) -> None:
    """One level an epoch, constant within it."""
    assert Sigma("linear", 3.0, 1.0, 100)(epoch) == pytest.approx(expected, rel=1e-12)


def test_sigma_of_short_trainings() -> None:
    assert [Sigma("steps", 2.0, 1.0, 1)(e) for e in (0,)] == [2.0]
    assert [Sigma("steps", 2.0, 1.0, 3)(e) for e in range(3)] == [2.0, 1.5, 1.0]
    assert Sigma("constant", 2.0, 1.0, 10)(9) == 2.0


def test_sigma_scales_with_the_detection_resolution() -> None:
    of_two, of_rt = TrainConfig(model="II").sigma, TrainConfig(model="RT").sigma
    assert (of_two.start, of_two.end) == (3.5, 2.0)
    assert of_rt.start == pytest.approx(3.5 * 224 / 368)
    assert of_rt.end == pytest.approx(2.0 * 28 / 46)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearningRate("spiral", 1, 1, 1), "spiral.*cyclical"),
        (lambda: LearningRate("constant", 0, 1, 1), "learning rate is 0"),
        (lambda: LearningRate("constant", math.inf, 1, 1), "learning rate is inf"),
        (lambda: Sigma("steps", -1, 1, 1), "sigma_start is -1"),
        (lambda: Sigma("steps", 1, 1, 0), "epochs is 0"),
    ],
)
def test_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
