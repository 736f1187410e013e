"""What a score is worth: the share that is right in each range of scores, and the curve through it (`pose.confidence`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression

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
    """scores (n,), right (n,) truth values or shares, 0 to 1 -> bins between neighbouring edges, those with few left out."""
    bins = []
    for low, high in pairwise(edges):
        inside = (scores >= low) & (scores < high)
        if (count := int(inside.sum())) >= FEWEST:
            bins.append(Bin(low, high, count, float(right[inside].mean())))
    return bins


def fit_curve(scores: np.ndarray, right: np.ndarray, points: int = 12) -> Curve:
    """The curve through as many points, each the mean of equally many scores, made to rise where chance has it fall.

    scores (n,); right (n,), truth values or shares from 0 to 1. Raises ValueError for fewer scores than points.
    """
    if scores.size < points:
        raise ValueError(f"there are {scores.size} scores, expected at least {points}")
    parts = np.array_split(np.argsort(scores, kind="stable"), points)
    shares = isotonic_regression([right[part].mean() for part in parts]).x
    return Curve(tuple(float(scores[part].mean()) for part in parts), tuple(float(share) for share in shares))
