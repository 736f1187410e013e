"""What a score is worth: the share that is right in each range of scores, and the curve through it (`pose.confidence`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from epcore.pose.confidence import Curve

FEWEST = 10  # scores a bin needs to be shown


@dataclass(frozen=True)
class Bin:
    """Scores from low up to high: how many, and the share of them that was right."""

    low: float
    high: float
    count: int
    share: float


def reliability(scores: np.ndarray, right: np.ndarray, edges: Sequence[float]) -> list[Bin]:
    """scores (n,), right (n,) truth values or shares from 0 to 1 -> bins between neighbouring edges, those with few left out."""
    bins = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (scores >= low) & (scores < high)
        if (count := int(inside.sum())) >= FEWEST:
            bins.append(Bin(low, high, count, float(right[inside].mean())))
    return bins


def fit_curve(scores: np.ndarray, right: np.ndarray) -> Curve:
    """The most likely curve for scores (n,) and right (n,), truth values or shares from 0 to 1: logistic regression.

    Raises ValueError where the right do not have the higher scores, or all are right, or none.
    """
    if not 0 < right.mean() < 1:
        raise ValueError("all are right, or all are wrong: that makes no curve")
    if not np.cov(scores, right.astype(float))[0, 1] > 0:
        raise ValueError("those that are right do not have the higher scores: that makes no curve")
    middle, spread = float(scores.mean()), float(scores.std())
    z = (scores - middle) / spread

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean of -log likelihood, and its gradient."""
        slope, offset = parameters
        logit = slope * z + offset
        excess = 1 / (1 + np.exp(-np.clip(logit, -500, 500))) - right
        value = float(np.mean(np.logaddexp(0, logit) - right * logit))
        return value, np.array([np.mean(excess * z), np.mean(excess)])

    share = float(right.mean())
    slope, offset = minimize(loss, np.array([1.0, math.log(share / (1 - share))]), jac=True, method="BFGS").x
    return Curve(middle - offset / slope * spread, spread / slope)
