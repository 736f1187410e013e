"""PCKh against cases computed by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from epcore.evaluate.pckh import OFFICIAL, WIDESPREAD, head_sizes, normalized_distances, pckh, table
from epcore.pose.skeleton import KEYPOINTS

BOX = np.array([[10.0, 10.0, 40.0, 50.0]])  # 30 x 40: diagonal 50, l = 30


def evaluate(offsets: dict[str, tuple[float, float]], unknown: tuple[str, ...] = (), *, else_miss: bool = False) -> np.ndarray:
    """Distances of one person whose predictions are off by the given pixels, the others exact (or far off)."""
    keypoints = np.arange(32.0).reshape(1, 16, 2)
    predictions = keypoints + (1000 if else_miss else 0)
    for name, offset in offsets.items():
        index = KEYPOINTS.index(name)
        predictions[0, index] = keypoints[0, index] + offset
    annotated = np.array([[name not in unknown for name in KEYPOINTS]])
    keypoints[~annotated] = np.nan
    return normalized_distances(predictions, keypoints, annotated, BOX)


def test_head_size() -> None:
    np.testing.assert_array_equal(head_sizes(BOX), [30.0])


def test_distance_equal_to_the_threshold_is_a_hit() -> None:
    """0.5 * 30 = 15: (9, 12) is exactly 15 away."""
    distances = evaluate({"left_knee": (9, 12), "left_ankle": (9, 12.001)})
    result = pckh(distances, 0.5)
    assert result.keypoints["left_knee"] == 100
    assert result.keypoints["left_ankle"] == 0
    assert result.groups["knee"] == 100
    assert result.groups["ankle"] == 50
    assert result.total == pytest.approx(100 * 13 / 14)
    assert result.count == 14


@pytest.mark.parametrize("k", range(1, 40))
@pytest.mark.parametrize("tenths", [1, 2, 3, 5])
def test_threshold_is_met_whatever_the_last_bit(k: int, tenths: int) -> None:
    """Head box 3k x 4k, l = 3k; offsets (1.8k tau, 2.4k tau) are tau l away. In binary some come out an ulp beyond."""
    offset = np.array([18 * k * tenths / 100, 24 * k * tenths / 100])
    keypoints, annotated, box = np.zeros((1, 16, 2)), np.ones((1, 16), bool), np.array([[0, 0, 3 * k, 4 * k]])
    exactly = normalized_distances(keypoints + offset, keypoints, annotated, box)
    assert pckh(exactly, tenths / 10).total == 100
    beyond = normalized_distances(keypoints + offset * (1 + 1e-9), keypoints, annotated, box)
    assert pckh(beyond, tenths / 10).total == 0


def test_at_10_is_at_10() -> None:
    """3.15 pixels are 0.105 l: a miss at 0.10, which the widespread evaluator computes at 0.11 and counts."""
    distances = evaluate({"right_wrist": (0, 3.15), "left_wrist": (3, 0)})
    official, widespread = pckh(distances, 0.1), pckh(distances, 0.1, WIDESPREAD)
    assert official.groups["wrist"] == 50
    assert official.computed_at == 0.1
    assert widespread.groups["wrist"] == 100
    assert widespread.computed_at == 0.11
    assert official.name == "PCKh@10 (official)"
    assert widespread.name == "PCKh@10 (widespread, computed at 0.11)"
    assert pckh(distances, 0.5, WIDESPREAD).name == "PCKh@50 (widespread)"


def test_pelvis_and_thorax_do_not_count() -> None:
    result = pckh(evaluate({"pelvis": (500, 0), "thorax": (0, 500)}))
    assert result.total == 100
    assert result.keypoints["pelvis"] == 0
    result = pckh(evaluate({"pelvis": (0, 0), "thorax": (0, 0)}, else_miss=True))
    assert result.total == 0


def test_unannotated_keypoints_are_skipped() -> None:
    distances = evaluate({"left_hip": (100, 0)}, unknown=("right_hip", "head_top"))
    result = pckh(distances)
    assert result.count == 12
    assert result.total == pytest.approx(100 * 11 / 12)
    assert math.isnan(result.keypoints["right_hip"])
    assert result.groups["hip"] == 0
    assert result.groups["head"] == 100  # upper_neck alone
    assert math.isnan(pckh(distances, 0.5, WIDESPREAD).groups["head"])
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["keypoints"]["head_top"] is None


def test_missing_predictions_are_misses() -> None:
    result = pckh(evaluate({"left_elbow": (math.nan, math.nan)}))
    assert result.groups["elbow"] == 50
    assert result.count == 14


def test_all_miss_and_nothing_annotated() -> None:
    assert pckh(evaluate({}, else_miss=True)).total == 0
    nothing = pckh(evaluate({}, unknown=KEYPOINTS))
    assert math.isnan(nothing.total)
    assert (nothing.persons, nothing.count) == (0, 0)


def test_total_pools_keypoints_and_does_not_average_persons() -> None:
    """Person 1: 14 of 14. Person 2: 0 of 2. Pooled 14 / 16, not (100 + 0) / 2. Head boxes of their own."""
    keypoints = np.zeros((2, 16, 2))
    annotated = np.ones((2, 16), bool)
    annotated[1] = False
    annotated[1, [KEYPOINTS.index("left_knee"), KEYPOINTS.index("right_knee")]] = True
    predictions = np.stack([keypoints[0] + (0, 14), keypoints[1] + (0, 14)])
    boxes = np.array([[0, 0, 30, 40], [0, 0, 15, 20]])  # thresholds 15 and 7.5
    result = pckh(normalized_distances(predictions, keypoints, annotated, boxes))
    assert result.total == pytest.approx(100 * 14 / 16)
    assert result.groups["knee"] == 50
    assert result.persons == 2


def test_head_group_by_convention() -> None:
    distances = evaluate({"upper_neck": (100, 0)})
    assert pckh(distances).groups["head"] == 50
    assert pckh(distances, 0.5, WIDESPREAD).groups["head"] == 100
    assert pckh(distances).total == pckh(distances, 0.5, WIDESPREAD).total


def test_widespread_mean_is_the_pooled_total(rng: np.random.Generator) -> None:
    """That evaluator weighs per-joint rates by their counts; written out here."""
    distances = rng.uniform(0, 1, (50, 16))
    distances[rng.random((50, 16)) < 0.2] = np.nan
    kept = [j for j, name in enumerate(KEYPOINTS) if name not in ("pelvis", "thorax")]
    counts = (~np.isnan(distances)).sum(axis=0)[kept]
    rates = np.array([np.mean(distances[:, j][~np.isnan(distances[:, j])] <= 0.5) for j in kept])
    mean = 100 * (rates * counts / counts.sum()).sum()
    assert pckh(distances, 0.5, WIDESPREAD).total == pytest.approx(mean, abs=1e-9)


def test_head_box_without_size() -> None:
    with pytest.raises(ValueError, match=r"head box 1 is \[5.0, 5.0, 5.0, 5.0\]: it has no size"):
        head_sizes(np.array([[0, 0, 1, 1], [5, 5, 5, 5]]))
    with pytest.raises(ValueError, match="no size"):
        head_sizes(np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match="expected \\(N, 4\\)"):
        head_sizes(np.zeros(4))


def test_wrong_shapes_and_values() -> None:
    ones = np.ones((1, 16), bool)
    with pytest.raises(ValueError, match="predictions has shape"):
        normalized_distances(np.zeros((1, 14, 2)), np.zeros((1, 16, 2)), ones, BOX)
    with pytest.raises(ValueError, match="keypoints has values that are not finite"):
        normalized_distances(np.zeros((1, 16, 2)), np.full((1, 16, 2), np.nan), ones, BOX)
    with pytest.raises(ValueError, match="tau is 0"):
        pckh(np.zeros((1, 16)), 0)


def test_table_names_the_convention() -> None:
    distances = evaluate({}, unknown=("head_top",))
    text = table([pckh(distances, 0.5, OFFICIAL), pckh(distances, 0.1, WIDESPREAD)])
    header, first, second = text.splitlines()
    assert header.split() == ["head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "total"]
    assert first.startswith("PCKh@50 (official)")
    assert second.startswith("PCKh@10 (widespread, computed at 0.11)")
    assert second.split()[-8] == "-"
