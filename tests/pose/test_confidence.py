"""Curves of confidence: what they say, that they fit, and that the constants are curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from epcore.evaluate.reliability import fit_curve, reliability
from epcore.pose.confidence import PUBLISHED, SHIPPED, Curve


def test_shares_and_scores_of_a_curve() -> None:
    curve = Curve((0.2, 0.4, 0.8), (0.0, 0.5, 0.9))
    assert [curve.share(score) for score in (0, 0.2, 0.3, 0.4, 0.6, 1)] == pytest.approx([0, 0, 0.25, 0.5, 0.7, 0.9])
    assert [curve.score(share) for share in (0.25, 0.5, 0.7)] == pytest.approx([0.3, 0.4, 0.6])
    assert math.isnan(curve.share(math.nan))


def test_constants_are_rising_curves_with_the_documented_thresholds() -> None:
    for calibration, thresholds in ((PUBLISHED, (0.30, 0.28)), (SHIPPED, (0.62, 0.57))):
        assert (calibration.sure_keypoint, calibration.sure_pose) == thresholds
        for curve in (calibration.keypoint, calibration.pose):
            assert len(curve.scores) == len(curve.shares) == 12
            assert (np.diff(curve.scores) > 0).all() and (np.diff(curve.shares) >= 0).all()
            assert curve.shares[0] < 0.1 and curve.shares[-1] > 0.9


def test_a_known_curve_is_found_again(rng: np.random.Generator) -> None:
    """Right with probability score squared, 200,000 times: within five standard deviations and the points' width."""
    scores = rng.random(200_000)
    right = rng.random(scores.size) < scores**2
    curve = fit_curve(scores, right, 20)
    deviation = 5 * math.sqrt(0.25 / (scores.size / 20))
    for score in (0.2, 0.5, 0.8):
        assert curve.share(score) == pytest.approx(score**2, abs=deviation + 0.05**2)
    bins = reliability(scores, right, [0, 0.5, 1])
    assert [each.count for each in bins] == [int((scores < 0.5).sum()), int((scores >= 0.5).sum())]
    assert bins[0].share == pytest.approx(1 / 12, abs=0.01)
    assert bins[1].share == pytest.approx(7 / 12, abs=0.01)
    assert reliability(scores[:5], right[:5], [0, 1]) == []  # too few to tell


def test_chance_does_not_make_it_fall_and_few_scores_make_none(rng: np.random.Generator) -> None:
    scores = rng.random(60)
    curve = fit_curve(scores, rng.random(60) < 0.5)
    assert (np.diff(curve.shares) >= 0).all()
    with pytest.raises(ValueError, match="there are 5 scores, expected at least 12"):
        fit_curve(scores[:5], scores[:5] > 0.5)
