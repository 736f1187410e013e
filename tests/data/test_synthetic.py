"""Synthetic figures: reproducible, varied, and annotated exactly where the limbs are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import exit_code

from epcore.cli import main
from epcore.data import paint
from epcore.data.body import VARIETIES, Variety, sample_body
from epcore.data.figure import PARTS, Figure
from epcore.data.hulls import convex_hull
from epcore.data.looks import Looks
from epcore.data.record import crop_square
from epcore.data.synthetic import SyntheticFigures
from epcore.pose.skeleton import FLIP_PERMUTATION, KEYPOINTS, LIMBS

PLAIN_LIGHT = np.array([0.0, 0.0, 1.0, 1.0])  # all ambient: colours stay as they are


def test_same_index_same_picture_whatever_came_before() -> None:
    figures = SyntheticFigures(10, seed=5)
    later = figures.record(7)
    for index in (2, 7):
        again = SyntheticFigures(10, seed=5).record(index)
    np.testing.assert_array_equal(again.pixels(), later.pixels())
    np.testing.assert_array_equal(again.keypoints, later.keypoints)
    assert again.name == later.name


def test_seeds_splits_epochs_and_indices_differ() -> None:
    figures = SyntheticFigures(10)
    variants = [
        figures.record(0), figures.record(1), figures.record(0, epoch=1), SyntheticFigures(10, seed=1).record(0),
        SyntheticFigures(10, split="validation").record(0), SyntheticFigures(10, split="test").record(0),
    ]  # fmt: skip
    for first in range(len(variants)):
        for second in range(first):
            assert (variants[first].pixels() != variants[second].pixels()).mean() > 0.5
    assert len({record.name for record in variants}) == len(variants)
    fixed = replace(figures, fresh=False)
    np.testing.assert_array_equal(fixed.record(3, epoch=9).pixels(), figures.record(3).pixels())


@pytest.mark.parametrize("size", [64, 250])
def test_record_is_complete(size: int) -> None:
    for index in range(8):
        record = SyntheticFigures(100, size=size, variety="hard").record(index)
        assert record.pixels().shape == (size, size, 3)
        assert record.pixels().dtype == np.uint8
        np.testing.assert_allclose(crop_square(record), (size / 2, size / 2, size))  # the crop is the whole picture
        points = record.keypoints[record.annotated]
        assert ((points >= 0) & (points < size)).all()
        assert np.isnan(record.keypoints[~record.annotated]).all()
        assert not (record.visible & ~record.annotated).any()


def draw_alone(seed: int, size: int = 256) -> tuple[Figure, np.ndarray, np.ndarray]:
    """One figure on black, and the map of its parts."""
    rng = np.random.default_rng(seed)
    figure = Figure.place(sample_body(rng, VARIETIES["default"]), Looks.sample(rng), (size / 2, size / 2), 0.8 * size, 0)
    canvas, owner = np.zeros((size, size, 3), np.float32), np.full((size, size), -1, np.int16)
    figure.draw(canvas, owner, PLAIN_LIGHT)
    return figure, canvas, owner


def test_keypoints_lie_on_the_drawn_figure() -> None:
    """Elbows, wrists, knees and ankles on limbs; head_top at the head's edge: an error of a pixel's fraction would show."""
    for seed in range(30):
        figure, _, owner = draw_alone(seed)
        drawn = owner >= 0
        for name, (x, y) in zip(KEYPOINTS, figure.keypoints, strict=True):
            if name != "head_top":
                assert drawn[int(y), int(x)], (seed, name)


def test_head_box_is_the_smallest_around_the_head() -> None:
    """Drawn alone, the head's pixels reach the box on all four sides to within one pixel."""
    for seed in range(10):
        figure, _, _ = draw_alone(seed)
        size = 256
        canvas, owner = np.zeros((size, size, 3), np.float32), np.full((size, size), -1, np.int16)
        ellipse = figure.head_ellipse()
        paint.head(canvas, owner, 1, ellipse, np.eye(3), np.ones((5, 3)), np.array([1.0, 1, 0, 0, 2]), PLAIN_LIGHT)
        rows, columns = np.flatnonzero((owner == 1).any(axis=1)), np.flatnonzero((owner == 1).any(axis=0))
        found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        np.testing.assert_allclose(found, figure.head_box(), atol=1.0)
        top = figure.screen["head_top"][:2]
        box = figure.head_box()
        assert (top >= box[:2] - 1e-6).all()
        assert (top <= box[2:] + 1e-6).all()


def test_limbs_run_straight_between_their_keypoints() -> None:
    """The middle of an upper arm or shin that is seen shows that limb and no other."""
    seen = 0
    for seed in range(20):
        figure, _, owner = draw_alone(seed)
        for start, end in LIMBS:
            names = KEYPOINTS[start], KEYPOINTS[end]
            part = {"elbow": "forearm", "shoulder": "upper_arm", "hip": "thigh", "knee": "shank"}.get(names[0].split("_")[-1])
            if part and names[0].startswith(("left", "right")):
                x, y = figure.keypoints[[start, end]].mean(axis=0)
                seen += PARTS[owner[int(y), int(x)]] == f"{names[0].split('_')[0]}_{part}"
    assert seen > 0.7 * 20 * 8  # the others are hidden by something nearer


def test_left_is_left_of_the_person() -> None:
    """Facing the viewer their left is on the right of the picture, from behind on the left: shoulders and hips agree."""
    front = Variety(back=0, side=0)
    behind = Variety(back=1, side=0)
    right, left = KEYPOINTS.index("right_hip"), KEYPOINTS.index("left_hip")
    for variety, sign in ((front, 1), (behind, -1)):
        sides = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            points = Figure.place(sample_body(rng, variety), Looks.sample(rng), (0, 0), 100, 0).keypoints
            sides.append(points[left, 0] - points[right, 0])
        assert np.mean(np.sign(sides) == sign) > 0.95


def test_front_and_back_look_different() -> None:
    """A face is seen from the front only, hair covers the back of the head."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        looks = replace(Looks.sample(rng), hair=np.zeros(3), skin=np.ones(3))
        looks.head_style[:] = 0.6, 0.1, 0, 0, 2
        shares = []
        for variety in (Variety(back=0, side=0, tilt=0), Variety(back=1, side=0, tilt=0)):
            figure = Figure.place(sample_body(rng, variety), looks, (128, 128), 220, 0)
            canvas, owner = np.zeros((256, 256, 3), np.float32), np.full((256, 256), -1, np.int16)
            figure.draw(canvas, owner, PLAIN_LIGHT)
            shares.append((canvas[owner == PARTS.index("head")] > 0.9).all(axis=-1).mean())
        assert shares[0] > shares[1] + 0.15


def test_visibility_follows_what_is_drawn_last() -> None:
    figure, canvas, owner = draw_alone(3)
    before = figure.visible(owner)
    assert before.sum() > 8
    index = int(np.flatnonzero(before)[-1])
    x, y = figure.keypoints[index]
    ball = np.array([x, y, 6, x, y, 6, 0])
    paint.capsule(canvas, owner, -1, ball, np.ones((3, 3)), np.array([1.0, 0, 0, 0]), PLAIN_LIGHT)
    after = figure.visible(owner)
    assert not after[index]
    assert (after <= before).all()


def test_flipped_body_is_a_possible_body() -> None:
    """Mirroring keypoints and exchanging sides keeps every limb's length: the permutation pairs what belongs together."""
    points = SyntheticFigures(1, variety="easy").record(0).keypoints
    mirrored = (points * (-1, 1))[FLIP_PERMUTATION]
    lengths = [np.linalg.norm(points[a] - points[b]) for a, b in LIMBS]
    flipped = [np.linalg.norm(mirrored[a] - mirrored[b]) for a, b in LIMBS]
    np.testing.assert_allclose(sorted(lengths), sorted(flipped))


def test_a_capsule_covers_its_area() -> None:
    """Smooth edges: the painted amount is the area of a stadium, to a thousandth."""
    canvas, owner = np.zeros((64, 64, 3), np.float32), np.zeros((64, 64), np.int16)
    shape = np.array([20.3, 20.7, 8, 41.9, 33.2, 8, 0])
    paint.capsule(canvas, owner, 1, shape, np.ones((3, 3)), np.array([1.0, 0, 0, 0]), PLAIN_LIGHT)
    area = np.pi * 64 + 16 * np.hypot(41.9 - 20.3, 33.2 - 20.7)
    assert abs(canvas[..., 0].sum() - area) < 2e-3 * area


def test_convex_hull_against_scipy(rng: np.random.Generator) -> None:
    from scipy.spatial import ConvexHull

    for _ in range(20):
        points = rng.normal(0, 10, (rng.integers(3, 30), 2))
        corners = convex_hull(points)
        expected = points[ConvexHull(points).vertices]
        assert {tuple(corner) for corner in corners} == {tuple(corner) for corner in expected}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": 1, "split": "tests"}, "split is 'tests'"),
        ({"count": 1, "size": 16}, "size is 16"),
        ({"count": 1, "variety": "harder"}, "variety is 'harder', expected one of easy, default, hard"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticFigures(**arguments)  # type: ignore[arg-type]


def test_index_out_of_range() -> None:
    with pytest.raises(IndexError, match="index is 3, expected 0 to 2"):
        SyntheticFigures(3).record(3)


def test_sample_command(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    assert main(["data", "sample", str(folder), "--count", "2", "--seed", "4", "--size", "96"]) == 0
    annotations = json.loads((folder / "annotations.json").read_text())
    assert len(annotations) == 2
    record = SyntheticFigures(2, seed=4, size=96).record(1)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / annotations[1]["image"])), record.pixels())
    assert [point["name"] for point in annotations[1]["keypoints"]] == list(KEYPOINTS)
    assert main(["data", "sample", str(tmp_path / "drawn"), "--count", "1", "--overlay"]) == 0
    assert exit_code(["data", "sample", str(tmp_path / "wrong"), "--count", "0"]) == 2
    assert not (tmp_path / "wrong").exists()
