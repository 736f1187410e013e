"""`epcore.pose.group` gives back the figures that exact maps were made of; who made them is the project's own encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import epcore
from epcore.data.body import VARIETIES, sample_body
from epcore.models.efficientpose import PoseOutputs
from epcore.pose import Geometry, Pose, decode, group
from epcore.pose.encode import render_targets
from epcore.pose.skeleton import FLIP_PERMUTATION, KEYPOINTS, LIMBS, PAF_FLIP_PERMUTATION, PAF_FLIP_SIGN

SIGMA = 16.0  # pixels of the input
# Keypoints come back as centres of pixels: half a pixel; maps smoothed and cut at the border move a peak by less than one more.
NEAR = 1.5

Figures = list[tuple[np.ndarray, np.ndarray]]  # keypoints (J,2) pixels, known (J,)


def figure(rng: np.random.Generator, centre: tuple[float, float], stature: float) -> np.ndarray:
    points = sample_body(rng, VARIETIES["default"]).keypoints[:, :2] * (1, -1)
    placed: np.ndarray = (points - (points.min(axis=0) + points.max(axis=0)) / 2) * stature + centre
    return placed


def beside_each_other(seed: int, count: int, columns: int, side: int, stature: float) -> Figures:
    """Figures in the cells of a grid, which their arms may leave."""
    rng = np.random.default_rng(seed)
    rows = -(-count // columns)
    places = [((i % columns + 0.5) * side / columns, (i // columns + 0.5) * side / rows) for i in range(count)]
    return [(points, ((points >= 0) & (points < side)).all(axis=1)) for points in (figure(rng, at, stature) for at in places)]


def maps_of(figures: Figures, side: int) -> PoseOutputs:
    """The maps that a perfect network would give; of nobody, zeros."""
    nobody = (np.zeros((len(KEYPOINTS), 2)), np.zeros(len(KEYPOINTS), bool))
    targets = render_targets([figures or [nobody]], side, SIGMA)
    return PoseOutputs(targets.pafs, (targets.confs, targets.confs), targets.upscaled, (2, 3))


def points_of(pose: Pose) -> np.ndarray:
    return pose.points.astype(np.float64)


def is_figure(pose: Pose, points: np.ndarray, known: np.ndarray) -> bool:
    """Just the known keypoints were found, each in its place."""
    found = points_of(pose)
    if not np.array_equal(~np.isnan(found[:, 0]), known):
        return False
    return bool(np.abs(found[known] - points[known]).max() <= NEAR)


def assert_all_back(poses: list[Pose], figures: Figures) -> None:
    assert len(poses) == len(figures)
    for points, known in figures:
        assert sum(is_figure(pose, points, known) for pose in poses) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_every_figure_comes_back_whatever_their_order(seed: int, count: int, order: object) -> None:
    figures = beside_each_other(seed, count, min(count, 3), 224, {1: 150, 2: 90, 3: 70}.get(count, 60))
    poses = group(maps_of(figures, 224))
    assert_all_back(poses, figures)
    shuffled = list(figures)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    again = group(maps_of(shuffled, 224))
    assert sorted(str(points_of(pose)) for pose in again) == sorted(str(points_of(pose)) for pose in poses)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_left_and_right_are_alike(seed: int) -> None:
    """The picture mirrored, its channels exchanged: the poses mirrored, left and right exchanged."""
    outputs = maps_of(beside_each_other(seed, 4, 2, 224, 80), 224)
    assert outputs.pafs is not None and outputs.upscaled is not None
    mirrored = replace(
        outputs,
        pafs=outputs.pafs[:, :, ::-1, PAF_FLIP_PERMUTATION] * PAF_FLIP_SIGN,
        upscaled=outputs.upscaled[:, :, ::-1, FLIP_PERMUTATION],
    )
    expected = [points_of(pose)[FLIP_PERMUTATION] * (-1, 1) + (224, 0) for pose in group(outputs)]
    assert len(expected) == 4
    for pose in group(mirrored):
        assert sum(np.nanmax(np.abs(points_of(pose) - points)) < NEAR for points in expected) == 1


def test_more_than_ten() -> None:
    figures = beside_each_other(3, 20, 5, 560, 95)
    assert_all_back(group(maps_of(figures, 560)), figures)


def test_nobody() -> None:
    assert group(maps_of([], 224)) == []


def test_one_person_is_what_decode_says() -> None:
    figures = beside_each_other(1, 1, 1, 224, 160)
    outputs = maps_of(figures, 224)
    (pose,) = group(outputs)
    fractions, scores = decode(outputs.final[0])
    assert np.allclose(points_of(pose), fractions * 224, rtol=0, atol=1e-9)
    assert np.allclose(pose.scores, scores, rtol=0, atol=1e-6)


def test_figures_that_touch() -> None:
    """Arms across each other, bodies before each other, keypoints of a kind 16 pixels apart: nearly all come back whole."""
    back = total = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        figures: Figures = []
        while len(figures) < 3:
            points = figure(rng, tuple(rng.uniform(60, 164, 2)), 110)
            if all(np.hypot(*(points - other).T).min() >= 16 for other, _ in figures):
                figures.append((points, ((points >= 0) & (points < 224)).all(axis=1)))
        poses = group(maps_of(figures, 224))
        back += sum(any(is_figure(pose, *each) for pose in poses) for each in figures)
        total += 3
    assert back >= 0.95 * total, f"{back} of {total}"


def test_limbs_that_cross() -> None:
    """Two forearms across each other: at the crossing the field is the mean of both."""
    figures = beside_each_other(5, 2, 2, 224, 90)
    elbow, wrist = KEYPOINTS.index("right_elbow"), KEYPOINTS.index("right_wrist")
    figures[0][0][[elbow, wrist]] = (90, 90), (130, 130)
    figures[1][0][[elbow, wrist]] = (130, 92), (90, 128)
    assert_all_back(group(maps_of(figures, 224)), figures)


@pytest.mark.parametrize(
    "missing", [["left_wrist"], ["right_ankle", "left_ankle"], ["left_elbow", "left_wrist"], ["pelvis"], ["head_top"]]
)
def test_what_hangs_at_the_end_may_be_missing(missing: list[str]) -> None:
    figures = beside_each_other(8, 2, 2, 224, 90)
    figures[1][1][[KEYPOINTS.index(name) for name in missing]] = False
    poses = group(maps_of(figures, 224))
    assert_all_back(poses, figures)
    gone = next(pose for pose in poses if is_figure(pose, *figures[1])).keypoints[KEYPOINTS.index(missing[0])]
    assert not gone.found and gone.score == 0 and gone.x is None and gone.y is None


def test_without_a_thorax_a_figure_is_in_pieces() -> None:
    """What hangs together still does: two arms, two legs; head and neck are two keypoints, and no pose."""
    figures = beside_each_other(8, 1, 1, 224, 150)
    figures[0][1][KEYPOINTS.index("thorax")] = False
    pieces = [
        {name for name, point in zip(KEYPOINTS, pose.keypoints, strict=True) if point.found}
        for pose in group(maps_of(figures, 224))
    ]
    assert len(pieces) == 4
    for side in ("left", "right"):
        assert {f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"} in pieces
        assert any({f"{side}_hip", f"{side}_knee", f"{side}_ankle"} <= piece for piece in pieces)
    assert sum("pelvis" in piece for piece in pieces) <= 1


def test_joints_alone_are_nobody() -> None:
    """Peaks of every kind without any field: 15 islands."""
    outputs = maps_of(beside_each_other(2, 1, 1, 224, 150), 224)
    assert group(replace(outputs, pafs=np.zeros_like(outputs.pafs))) == []
    assert group(replace(outputs, pafs=-outputs.pafs)) == []  # type: ignore[operator]


def test_a_field_of_the_wrong_limb_joins_nothing() -> None:
    """Every limb reads its own two channels."""
    outputs = maps_of(beside_each_other(2, 1, 1, 224, 150), 224)
    assert outputs.pafs is not None
    for limb, (start, end) in enumerate(LIMBS):
        pafs = outputs.pafs.copy()
        pafs[..., 2 * limb : 2 * limb + 2] = 0
        together = [
            pose for pose in group(replace(outputs, pafs=pafs)) if pose.keypoints[start].found and pose.keypoints[end].found
        ]
        near = np.hypot(*np.diff(beside_each_other(2, 1, 1, 224, 150)[0][0][[start, end]], axis=0)[0]) < 12
        assert near or not together, (KEYPOINTS[start], KEYPOINTS[end])


def test_places_are_of_the_picture() -> None:
    """A wide picture lies in the middle of the square, half as large."""
    figures = beside_each_other(8, 2, 2, 224, 60)
    geometry = Geometry.fit(448, 300, 224)
    poses = group(maps_of(figures, 224), geometry)
    assert {(pose.width, pose.height) for pose in poses} == {(448, 300)}
    placed = [(geometry.to_picture(points / 224), known) for points, known in figures]
    for points, known in placed:
        assert sum(np.nanmax(np.abs(points_of(pose) - points)[known]) <= 2 * NEAR for pose in poses) == 1


def test_the_surest_is_first() -> None:
    figures = beside_each_other(8, 3, 3, 224, 70)
    figures[0][1][KEYPOINTS.index("left_ankle")] = False
    poses = group(maps_of(figures, 224))
    sums = [pose.scores.sum() for pose in poses]
    assert sums == sorted(sums, reverse=True)
    assert is_figure(poses[-1], *figures[0])


def test_maps_without_upscaling() -> None:
    """Of a network without it: the same figures, to half a cell of the small maps."""
    figures = beside_each_other(8, 2, 2, 224, 90)
    poses = group(replace(maps_of(figures, 224), upscaled=None))
    assert len(poses) == 2
    for points, known in figures:
        assert min(np.nanmax(np.abs(points_of(pose) - points)[known]) for pose in poses) <= 8 * NEAR


@pytest.mark.parametrize("size", [(112, 224), (224, 112)])
def test_maps_that_are_no_square(size: tuple[int, int]) -> None:
    """Cut from those of a square: the coordinates are of the cut."""
    figures = beside_each_other(8, 1, 1, 224, 80)
    outputs = maps_of([(figures[0][0] - (0, 0), figures[0][1])], 224)
    assert outputs.pafs is not None and outputs.upscaled is not None
    height, width = size
    top, left = (224 - height) // 2 // 8 * 8, (224 - width) // 2 // 8 * 8
    cut = replace(
        outputs,
        pafs=outputs.pafs[:, top // 8 : (top + height) // 8, left // 8 : (left + width) // 8],
        upscaled=outputs.upscaled[:, top : top + height, left : left + width],
    )
    (pose,) = group(cut)
    assert (pose.width, pose.height) == (width, height)
    assert is_figure(pose, figures[0][0] - (left, top), figures[0][1])


def test_noise_ends_soon_and_well(rng: np.random.Generator) -> None:
    noise = PoseOutputs(rng.normal(size=(1, 28, 28, 28)), (), rng.uniform(size=(1, 224, 224, 16)), ())
    for pose in group(noise):
        assert sum(point.found for point in pose.keypoints) >= 3


def test_flat_maps_have_one_peak_each() -> None:
    flat = PoseOutputs(np.zeros((1, 28, 28, 28)), (), np.ones((1, 224, 224, 16)), ())
    (pose,) = group(flat)  # all in one place, which needs no field
    assert points_of(pose)[0].tolist() == [0.5, 0.5]


class TestWrong:
    @pytest.fixture
    def outputs(self) -> PoseOutputs:
        return PoseOutputs(np.zeros((1, 28, 28, 28)), (), np.zeros((1, 224, 224, 16)), ())

    @pytest.mark.parametrize(
        ("name", "shape", "channels"),
        [
            ("upscaled", (224, 224, 16), 16),
            ("upscaled", (2, 224, 224, 16), 16),
            ("upscaled", (1, 224, 224, 15), 16),
            ("upscaled", (1, 0, 224, 16), 16),
            ("pafs", (1, 28, 28, 30), 28),
            ("pafs", (28, 28, 28), 28),
        ],
    )
    def test_shapes(self, outputs: PoseOutputs, name: str, shape: tuple[int, ...], channels: int) -> None:
        called = "final" if name == "upscaled" else name
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
            group(replace(outputs, **{name: np.zeros(shape)}))  # type: ignore[arg-type]
        assert (
            str(caught.value) == f"{called} has shape {shape}, expected (1, height, width, {channels}), the maps of one picture"
        )

    def test_maps_of_two_pictures(self, outputs: PoseOutputs) -> None:
        with pytest.raises(ValueError, match="final has 224x224 pixels and pafs 28x20, expected maps of one picture"):
            group(replace(outputs, pafs=np.zeros((1, 28, 20, 28))))

    def test_no_fields(self) -> None:
        with pytest.raises(
            ValueError, match="gives no part affinity fields: a Lite network has them with auxiliary_heads=True"
        ):
            group(epcore.EfficientPoseLite("RT")(np.zeros((1, 224, 224, 3), np.float32)))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_numbers(self, outputs: PoseOutputs, value: float) -> None:
        assert outputs.upscaled is not None and outputs.pafs is not None
        outputs.upscaled[0, 3, 4, 11] = value
        with pytest.raises(
            ValueError, match=r"final holds values that are NaN or infinite, the first in channel 11 \(right_knee\)"
        ):
            group(outputs)
        outputs.upscaled[:] = 0
        outputs.pafs[0, 3, 4, 3] = value
        with pytest.raises(ValueError, match=r"pafs holds .* in channel 3 \(thorax to right_shoulder\)"):
            group(outputs)

    @pytest.mark.parametrize("threshold", [0, -1, np.nan])
    def test_thresholds(self, outputs: PoseOutputs, threshold: float) -> None:
        with pytest.raises(ValueError, match=rf"threshold is {threshold}, expected a number above 0"):
            group(outputs, threshold=threshold)


def test_the_example(tmp_path: Path) -> None:
    """As docs/groups.md has it; the network that comes with epcore sees the one figure that is there."""
    from epcore.data.synthetic import SyntheticFigures
    from epcore.models.variants import SHIPPED_WEIGHTS
    from epcore.pose import preprocess

    record = SyntheticFigures(1, seed=4, split="test").record(0)
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, SHIPPED_WEIGHTS["RT"])
    x, geometry = preprocess(record.image, model.resolution)
    poses = group(model(x), geometry)
    distances = np.hypot(*(points_of(poses[0]) - record.person.keypoints).T)
    assert np.median(distances[~np.isnan(distances)]) < 8
