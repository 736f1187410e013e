"""Looking closer with an eye whose sight is known: it sees a person that fills its square, and nothing otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from epcore.pose import Box, Keypoint, Pose
from epcore.pose.confidence import Calibration, Curve
from epcore.pose.find import CANDIDATES, PARTS, TURNS, find_person, squares
from epcore.pose.skeleton import KEYPOINTS

CALIBRATION = Calibration(Curve((0.0, 1.0), (0.0, 1.0)), Curve((0.0, 1.0), (0.0, 1.0)))
WIDTH, HEIGHT = 1280, 720


class Eye:
    """Sees a person in a box by how well it fills the square looked at, 0 where it is mostly outside it."""

    def __init__(self, person: Box) -> None:
        self.person, self.boxes = person, []  # type: ignore[var-annotated]
        rng = np.random.default_rng(3)
        inner = rng.random((len(KEYPOINTS), 2))
        inner[:2] = (0, 0), (1, 1)
        self.points = inner * (person.width, person.height) + (person.x, person.y)

    def __call__(self, box: Box | None, margin: float) -> Pose:
        self.boxes.append(box)
        whole = box or Box(0, 0, WIDTH, HEIGHT)
        side = max(whole.width, whole.height) * margin
        (x, y), filled = whole.centre, max(self.person.width, self.person.height) / side
        inside = (np.abs(self.points - (x, y)) <= side / 2).all(axis=1)
        score = max(0.0, 1 - 2.2 * abs(filled - 0.8)) if 0.4 < filled < 1.1 else 0.1
        keypoints = (
            Keypoint(name, float(a), float(b), score if seen else 0.05)
            for name, (a, b), seen in zip(KEYPOINTS, self.points, inside, strict=True)
        )
        return Pose(WIDTH, HEIGHT, tuple(keypoints), box)


@pytest.mark.parametrize("share", [0.16, 0.2, 0.25, 0.3, 0.45])
@pytest.mark.parametrize("place", [(0.1, 0.2), (0.5, 0.5), (0.85, 0.7)])
def test_the_person_is_found_and_boxed(share: float, place: tuple[float, float]) -> None:
    person = Box(place[0] * (WIDTH - 100), place[1] * (HEIGHT - share * HEIGHT), 100, share * HEIGHT)
    eye = Eye(person)
    found = find_person(eye, calibration=CALIBRATION)
    assert found.sure
    assert found.pose.score > 0.9
    assert found.looks == len(eye.boxes)
    box = found.pose.box
    assert box is not None
    assert (
        abs(np.subtract((box.x, box.y, box.width, box.height), (person.x, person.y, person.width, person.height))).max() < 1e-9
    )


def test_who_fills_the_picture_is_followed_at_once() -> None:
    eye = Eye(Box(100, 20, 900, 680))
    found = find_person(eye, calibration=CALIBRATION)
    assert found.sure and found.pose.score > 0.9
    assert len(eye.boxes) <= 1 + TURNS


def test_nobody_is_given_up() -> None:
    eye = Eye(Box(10, 10, 3, 5))
    found = find_person(eye, calibration=CALIBRATION)
    assert not found.sure
    most = 1 + sum(len(list(squares(WIDTH, HEIGHT, parts))) for parts in PARTS)
    assert most <= found.looks <= most + (1 + len(PARTS)) * CANDIDATES * TURNS


@pytest.mark.parametrize(("width", "height"), [(720, 720), (1280, 720), (333, 1000), (50, 51)])
@pytest.mark.parametrize("parts", PARTS)
def test_squares_cover_the_picture_and_overlap_by_half(width: int, height: int, parts: int) -> None:
    boxes = list(squares(width, height, parts))
    side = min(width, height) / parts
    for extent, starts in ((width, sorted({box.x for box in boxes})), (height, sorted({box.y for box in boxes}))):
        assert starts[0] == 0
        assert starts[-1] + side == pytest.approx(extent)
        assert np.diff(starts).max() <= side / 2 + 1e-9
    assert len(boxes) == len({box.x for box in boxes}) * len({box.y for box in boxes})
