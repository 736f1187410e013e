"""Where the next frame is looked at: MoveNet's rule, worked out by hand."""

from __future__ import annotations

import pytest

from epcore.pose.box import Box
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.skeleton import KEYPOINTS
from epcore.video.follow import Follower, next_box

PLACES = {"right_hip": (290, 300), "left_hip": (310, 300), "right_shoulder": (280, 240), "left_shoulder": (320, 240)}


def pose(size: tuple[int, int] = (640, 480), scores: dict[str, float] | None = None, **others: tuple[float, float]) -> Pose:
    """Keypoints that are not named lie in the middle of the hips."""
    places = {**dict.fromkeys(KEYPOINTS, (300, 300)), **PLACES, **others}
    points = tuple(Keypoint(name, *map(float, places[name]), (scores or {}).get(name, 0.9)) for name in KEYPOINTS)
    return Pose(*size, points)


def square(x: float, y: float, half: float) -> Box:
    return Box(x - half, y - half, 2 * half, 2 * half)


def around(box: Box | None) -> tuple[float, ...]:
    assert box is not None
    return box.x, box.y, box.width, box.height


@pytest.mark.parametrize(
    ("place", "half"),
    [
        ({}, 1.9 * 60),  # the shoulders
        ({"right_ankle": (300, 400)}, 1.2 * 100),  # a limb that is further away
        ({"left_wrist": (450, 300)}, 1.2 * 150),
    ],
)
def test_the_square(place: dict[str, tuple[float, float]], half: float) -> None:
    assert around(next_box(pose(**place))) == pytest.approx(around(square(300, 300, half)))


def test_unsure_keypoints_do_not_count() -> None:
    far = pose(scores={"right_ankle": 0.19}, right_ankle=(300, 400))
    assert around(next_box(far)) == pytest.approx(around(square(300, 300, 1.9 * 60)))
    assert around(next_box(far, 0.19)) == pytest.approx(around(square(300, 300, 120)))
    one_hip = pose(scores={"left_hip": 0.1, "left_shoulder": 0.1})
    assert around(next_box(one_hip)) == pytest.approx(around(square(290, 300, 1.9 * 60)))


@pytest.mark.parametrize("sides", [("right_hip", "left_hip"), ("right_shoulder", "left_shoulder")])
def test_without_hips_or_shoulders_everywhere(sides: tuple[str, str]) -> None:
    assert next_box(pose(scores=dict.fromkeys(sides, 0.1))) is None


def test_larger_than_the_picture_everywhere() -> None:
    assert next_box(pose((520, 600), right_ankle=(300, 510))) is not None  # half 252 of 260
    assert next_box(pose((500, 504), right_ankle=(300, 511))) is None


def test_it_follows_and_gives_up() -> None:
    follower = Follower()
    assert follower.box is None
    assert follower.see(pose()) and follower.box is not None
    assert not follower.see(pose(scores=dict.fromkeys(KEYPOINTS, 0.1)))
    assert follower.box is None
