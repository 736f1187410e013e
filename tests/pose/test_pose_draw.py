"""The overlay: sides told apart, doubt shown, lines that scale with the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from epcore.pose import Keypoint, Pose, draw_pose
from epcore.pose.draw import LEFT, MIDDLE, RIGHT
from epcore.pose.skeleton import KEYPOINTS

# A person from the front, x and y as fractions: their right is on the left of the picture.
STANDING = {
    "head_top": (0.5, 0.1), "upper_neck": (0.5, 0.25), "thorax": (0.5, 0.3), "pelvis": (0.5, 0.55),
    "right_shoulder": (0.4, 0.3), "right_elbow": (0.3, 0.4), "right_wrist": (0.2, 0.5),
    "left_shoulder": (0.6, 0.3), "left_elbow": (0.7, 0.4), "left_wrist": (0.8, 0.5),
    "right_hip": (0.42, 0.55), "right_knee": (0.4, 0.75), "right_ankle": (0.4, 0.95),
    "left_hip": (0.58, 0.55), "left_knee": (0.6, 0.75), "left_ankle": (0.6, 0.95),
}  # fmt: skip


def standing(width: int, height: int, score: float = 0.9) -> Pose:
    points = (Keypoint(name, STANDING[name][0] * width, STANDING[name][1] * height, score) for name in KEYPOINTS)
    return Pose(width, height, tuple(points))


def change(pose: Pose, name: str, **values: float | None) -> Pose:
    points = (replace(point, **values) if point.name == name else point for point in pose.keypoints)  # type: ignore[arg-type]
    return replace(pose, keypoints=tuple(points))


def pixel(image: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    return tuple(image[round(y * image.shape[0]), round(x * image.shape[1])].tolist())


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_sides_have_their_colours_on_any_ground(ground: int) -> None:
    picture = np.full((400, 400, 3), ground, np.uint8)
    drawn = np.asarray(draw_pose(picture, standing(400, 400)))
    assert pixel(drawn, 0.35, 0.35) == RIGHT  # upper arm
    assert pixel(drawn, 0.4, 0.85) == RIGHT  # shin
    assert pixel(drawn, 0.65, 0.35) == LEFT
    assert pixel(drawn, 0.6, 0.85) == LEFT
    assert pixel(drawn, 0.5, 0.17) == MIDDLE  # neck to head
    assert pixel(drawn, 0.9, 0.1) == (ground,) * 3
    assert (picture == ground).all()  # the input is not drawn on
    row = drawn[round(0.85 * 400), :200].astype(int)  # across the shin: a rim that differs from line and ground
    contrast = np.abs(row - ground).sum(axis=1)
    assert contrast.max() > 200


def test_every_limb_has_a_dark_rim_on_white() -> None:
    drawn = np.asarray(draw_pose(np.full((400, 400, 3), 255, np.uint8), standing(400, 400))).astype(int)
    left, right = drawn[340, 152:160].sum(axis=1), drawn[340, 160:168].sum(axis=1)  # beside the right shin at x = 160
    colour = sum(RIGHT)
    for side in (left, right):
        assert side.max() == 3 * 255  # the ground
        assert side.min() < colour - 50  # darker than the line: the rim, though smoothed over two pixels


def test_unsure_keypoints_are_hollow_their_limbs_dashed_and_missing_ones_absent() -> None:
    picture = np.full((400, 400, 3), 70, np.uint8)
    sure = np.asarray(draw_pose(picture, standing(400, 400))).astype(int)
    unsure = np.asarray(draw_pose(picture, change(standing(400, 400), "left_wrist", score=0.2))).astype(int)
    missing = np.asarray(draw_pose(picture, change(standing(400, 400), "left_wrist", x=None, y=None))).astype(int)
    assert pixel(sure, 0.8, 0.5) == LEFT
    assert pixel(unsure, 0.8, 0.5) == (70, 70, 70)  # the picture in the ring
    ring = unsure[190:211, 310:331]
    assert (ring == LEFT).all(axis=2).any()

    along = np.linspace(0.15, 0.85, 60)  # of the forearm
    place = np.round(400 * (0.4 + 0.1 * along)).astype(int), np.round(400 * (0.7 + 0.1 * along)).astype(int)
    drawn = {name: (image[place] == LEFT).all(axis=1).mean() for name, image in (("sure", sure), ("unsure", unsure))}
    assert drawn["sure"] > 0.95
    assert 0.2 < drawn["unsure"] < 0.8
    assert (missing[place] == 70).all()
    assert (unsure[:, :200] == sure[:, :200]).all()  # the other arm is drawn as before
    assert pixel(unsure, 0.65, 0.35) == LEFT  # and so is the upper arm
    raised = np.asarray(draw_pose(picture, change(standing(400, 400), "left_wrist", score=0.2), threshold=0.1))
    assert (raised == sure).all()


def test_all_unsure_all_missing_and_no_number() -> None:
    picture = np.full((100, 100, 3), 50, np.uint8)
    hollow = np.asarray(draw_pose(picture, standing(100, 100, score=0.0)))
    assert (hollow == np.asarray(draw_pose(picture, standing(100, 100, score=float("nan"))))).all()
    assert (hollow != np.asarray(draw_pose(picture, standing(100, 100)))).any()
    nothing = standing(100, 100)
    for name in KEYPOINTS:
        nothing = change(nothing, name, x=None, y=None)
    assert (np.asarray(draw_pose(picture, nothing, label="7")) == 50).all()


def test_a_label_is_written_beside_the_uppermost_keypoint() -> None:
    picture = np.full((400, 400, 3), 50, np.uint8)
    plain, named = (np.asarray(draw_pose(picture, standing(400, 400), label=label)) for label in (None, "anna"))
    rows, columns = np.nonzero((plain != named).any(axis=2))
    assert rows.size > 20
    assert rows.max() < 0.2 * 400
    assert columns.min() > 0.5 * 400
    assert np.asarray(draw_pose(picture, standing(400, 400), label="\x1b[31m\u4eba")).shape == (400, 400, 3)


@pytest.mark.parametrize(("width", "height"), [(300, 300), (1200, 1200), (6000, 300)])
def test_thickness_follows_the_picture(width: int, height: int) -> None:
    drawn = np.asarray(draw_pose(np.zeros((height, width, 3), np.uint8), standing(width, height)))
    row = drawn[round(0.85 * height), : width // 2]
    thickness = (row[:, 0] > 127).sum()
    assert 0.5 * 0.007 <= thickness / np.sqrt(width * height) <= 2 * 0.007


def test_one_pixel() -> None:
    assert draw_pose(np.zeros((1, 1, 3), np.uint8), standing(1, 1)).size == (1, 1)


def test_pose_of_another_picture() -> None:
    with pytest.raises(ValueError, match="pose is of a picture of 10x20 pixels, this one has 30x40"):
        draw_pose(np.zeros((40, 30, 3), np.uint8), standing(10, 20))
