"""One-Euro: against the paper's algorithm written out for one number, and what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from epcore.video.smooth import GAP, OneEuro


def written_out(values: list[float], times: list[float], cutoff: float, slope: float) -> list[float]:
    """Algorithm 1 of the paper, step by step, for one coordinate."""

    def alpha(frequency: float, dt: float) -> float:
        tau = 1 / (2 * math.pi * frequency)
        return 1 / (1 + tau / dt)

    out, speed = [values[0]], 0.0
    for i in range(1, len(values)):
        dt = times[i] - times[i - 1]
        a = alpha(1.0, dt)
        speed = a * (values[i] - out[-1]) / dt + (1 - a) * speed
        a = alpha(cutoff + slope * abs(speed), dt)
        out.append(a * values[i] + (1 - a) * out[-1])
    return out


def test_as_the_paper_has_it(rng: np.random.Generator) -> None:
    times = np.cumsum(rng.uniform(0.01, 0.1, 50)).tolist()  # a film of variable rate
    points = rng.normal(0, 30, (50, 3, 2)).cumsum(axis=0)
    filter_ = OneEuro(1.5, 7.0)
    smooth = np.array([filter_.filter(each, time, 100.0) for each, time in zip(points, times, strict=True)])
    for j in range(3):
        for axis in range(2):
            expected = written_out(points[:, j, axis].tolist(), times, 1.5, 7.0 / 100)
            assert smooth[:, j, axis] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_missing_keypoints_stay_missing_and_return() -> None:
    filter_ = OneEuro()
    points = np.zeros((2, 2))
    filter_.filter(points, 0.0, 100.0)
    gone = np.array([[np.nan, np.nan], [10.0, 0.0]])
    out = filter_.filter(gone, 0.04, 100.0)
    assert np.isnan(out[0]).all() and 0 < out[1, 0] < 10
    back = filter_.filter(points + 8, 0.08, 100.0)
    assert 0 < back[0, 0] < 8  # goes on from where it was
    later = filter_.filter(points + 50, 0.08 + GAP + 0.01, 100.0)
    assert (later == 50).all()  # and begins anew after too long
    filter_.reset()
    assert (filter_.filter(points - 3, 0.7, 100.0) == -3).all()


@pytest.mark.parametrize(("cutoff", "slope"), [(0, 1), (-1, 1), (1, -1), (math.nan, 1), (1, math.inf)])
def test_parameters_that_are_none(cutoff: float, slope: float) -> None:
    with pytest.raises(ValueError, match="expected above 0 and at least 0"):
        OneEuro(cutoff, slope)
