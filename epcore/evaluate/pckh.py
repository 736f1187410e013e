"""PCKh: share of keypoints found within a part of the head's size (Andriluka et al. 2014).

A keypoint is hit when ||prediction - truth|| <= tau * l, with l = 0.6 * diagonal of the annotated head box. Keypoints that are
not annotated are left out; hidden but annotated ones count. A missing prediction (NaN) is a miss.

Published figures follow two conventions that share the name; both are here, and every result says which it is:

official    As in the evaluation tool published with MPII: 14 keypoints, without pelvis and thorax; "total" pools them.
            "head" is the mean of head_top and upper_neck. Exact at every threshold.
widespread  As in the evaluator that most Python projects share: "head" is head_top alone, and what it prints as @0.1 is
            computed at 0.11. The total is the same, but for that threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.pose.skeleton import KEYPOINTS

HEAD_SIZE = 0.6  # l as a share of the head box's diagonal
_ROUNDING = 1e-12  # relative; a distance that equals the threshold on paper is a hit whatever the last bit says

_PAIRS = {name: (f"right_{name}", f"left_{name}") for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}


@dataclass(frozen=True)
class Convention:
    """name. groups: name -> keypoints whose rates are averaged. thresholds: printed -> computed, where they differ."""

    name: str
    groups: dict[str, tuple[str, ...]]
    thresholds: dict[float, float]


OFFICIAL = Convention("official", {"head": ("head_top", "upper_neck"), **_PAIRS}, {})
WIDESPREAD = Convention("widespread", {"head": ("head_top",), **_PAIRS}, {0.1: 0.11})
CONVENTIONS = {convention.name: convention for convention in (OFFICIAL, WIDESPREAD)}

EXCLUDED = ("pelvis", "thorax")  # from the total, in both


@dataclass(frozen=True)
class PCKh:
    """Percentages at one threshold. tau: as printed; computed_at: the threshold used. NaN where nothing was annotated.

    groups: per joint group. keypoints: per keypoint, all 16. total: the 14 keypoints pooled. persons, count: that were
    evaluated, count being keypoints in the total.
    """

    convention: str
    tau: float
    computed_at: float
    groups: dict[str, float]
    keypoints: dict[str, float]
    total: float
    persons: int
    count: int

    @property
    def name(self) -> str:
        """PCKh@50, with the convention and, where that differs, the threshold really used."""
        used = f", computed at {self.computed_at:g}" if self.computed_at != self.tau else ""
        return f"PCKh@{100 * self.tau:g} ({self.convention}{used})"

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`; NaN becomes null."""

        def plain(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "name": self.name, "convention": self.convention, "tau": self.tau, "computed_at": self.computed_at,
            "total": plain(self.total), "groups": {name: plain(rate) for name, rate in self.groups.items()},
            "keypoints": {name: plain(rate) for name, rate in self.keypoints.items()},
            "persons": self.persons, "count": self.count,
        }  # fmt: skip


def head_sizes(head_boxes: np.ndarray) -> np.ndarray:
    """head_boxes (N,4) x1, y1, x2, y2 -> l (N,) float64, pixels. Raises ValueError for a box without extent, or NaN."""
    boxes = np.asarray(head_boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"head_boxes has shape {boxes.shape}, expected (N, 4): x1, y1, x2, y2")
    sizes = HEAD_SIZE * np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    wrong = np.flatnonzero(~(sizes > 0))
    if wrong.size:
        raise ValueError(
            f"head box {wrong[0]} is {boxes[wrong[0]].tolist()}: it has no size, so distances cannot be measured by it"
            + (f" (nor by {wrong.size - 1} more)" if wrong.size > 1 else "")
        )
    return sizes


def normalized_distances(
    predictions: np.ndarray, keypoints: np.ndarray, annotated: np.ndarray, head_boxes: np.ndarray
) -> np.ndarray:
    """Distances in units of l: (N,J) float64; NaN where not annotated, infinite where the prediction is missing.

    predictions, keypoints (N,J,2), annotated (N,J) bool, head_boxes (N,4); all in pixels of the same picture. Raises
    ValueError for shapes that do not fit, or a head box without extent.
    """
    N, J = len(keypoints), len(KEYPOINTS)
    for name, array, shape in (
        ("predictions", predictions, (N, J, 2)),
        ("keypoints", keypoints, (N, J, 2)),
        ("annotated", annotated, (N, J)),
        ("head_boxes", head_boxes, (N, 4)),
    ):
        if np.shape(array) != shape:
            raise ValueError(f"{name} has shape {np.shape(array)}, expected {shape}")
    offsets = np.asarray(predictions, np.float64) - np.asarray(keypoints, np.float64)
    distances: np.ndarray = np.hypot(offsets[..., 0], offsets[..., 1]) / head_sizes(head_boxes)[:, None]
    known = np.asarray(annotated, bool)
    if not np.isfinite(np.asarray(keypoints)[known]).all():
        raise ValueError("keypoints has values that are not finite where annotated says that they are known")
    distances[np.isnan(predictions).any(axis=2)] = np.inf
    distances[~known] = np.nan
    return distances


def pckh(distances: np.ndarray, tau: float = 0.5, convention: Convention = OFFICIAL) -> PCKh:
    """distances (N,J) as from `normalized_distances` -> percentages at tau.

    A group's figure is the mean of its keypoints' rates, of those that were annotated at all. Raises ValueError for a tau that
    is not positive.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}, expected a positive share of the head's size")
    used = convention.thresholds.get(tau, tau)
    known = ~np.isnan(distances)
    hits = known & (np.where(known, distances, np.inf) <= used * (1 + _ROUNDING))
    rates = dict(zip(KEYPOINTS, _percent(hits.sum(axis=0), known.sum(axis=0)), strict=True))
    groups = {group: _mean([rates[name] for name in names]) for group, names in convention.groups.items()}
    counted = [index for index, name in enumerate(KEYPOINTS) if name not in EXCLUDED]
    total = _percent(hits[:, counted].sum(keepdims=True), known[:, counted].sum(keepdims=True))[0]
    persons = int(known[:, counted].any(axis=1).sum())
    return PCKh(convention.name, tau, used, groups, rates, total, persons, int(known[:, counted].sum()))


def _mean(rates: list[float]) -> float:
    known = [rate for rate in rates if not math.isnan(rate)]
    return sum(known) / len(known) if known else math.nan


def _percent(hits: np.ndarray, counts: np.ndarray) -> list[float]:
    return [100 * int(hit) / int(count) if count else math.nan for hit, count in zip(hits.ravel(), counts.ravel(), strict=True)]


def table(results: Sequence[PCKh]) -> str:
    """One row a result, for people."""
    groups = list(OFFICIAL.groups)
    width = max((len(result.name) for result in results), default=0)
    lines = [" " * width + "".join(f"{name:>10}" for name in (*groups, "total"))]
    for result in results:
        values = (*(result.groups[name] for name in groups), result.total)
        lines.append(f"{result.name:<{width}}" + "".join(f"{'-' if math.isnan(v) else f'{v:.1f}':>10}" for v in values))
    return "\n".join(lines)
