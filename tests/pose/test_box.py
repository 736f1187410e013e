"""Boxes: what is none, and how COCO's, MPII's and points' boxes relate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from epcore.data.record import J, Person, Record, crop_square
from epcore.pose.box import CROP_MARGIN, Box, as_box


@pytest.mark.parametrize(
    "numbers",
    [(0, 0, 0, 5), (0, 0, 5, 0), (0, 0, -3, 5), (0, 0, 5, -3), (math.nan, 0, 5, 5), (0, math.inf, 5, 5), (0, 0, 5, math.nan)],
)
def test_boxes_without_extent(numbers: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="has no extent, expected finite x, y, width, height, the last two above 0"):
        Box(*numbers)


@pytest.mark.parametrize("value", [5, (1, 2, 3), (1, 2, 3, 4, 5), "abcd", (1, 2, None, 4)])
def test_what_is_no_box(value: object) -> None:
    with pytest.raises(TypeError, match="expected a Box or four numbers"):
        as_box(value)  # type: ignore[arg-type]


def test_four_numbers_are_a_box() -> None:
    assert as_box(np.array([1, 2, 3, 4])) == as_box([1, 2, 3, 4]) == Box(1, 2, 3, 4)  # type: ignore[arg-type]
    assert as_box(Box(1, 2, 3, 4)) == Box(1, 2, 3, 4)
    assert Box(1, 2, 3, 4).centre == (2.5, 4)
    assert str(Box(1, 2.5, 3, 4)) == "1,2.5,3,4"


@pytest.mark.parametrize(
    ("box", "meets"),
    [
        (Box(0, 0, 10, 20), True),
        (Box(-5, -5, 5.1, 5.1), True),
        (Box(-5, -5, 5, 50), False),  # ends where the picture begins
        (Box(-5, -5, 50, 5), False),
        (Box(10, 0, 5, 5), False),
        (Box(0, 20, 5, 5), False),
        (Box(9.9, 19.9, 5, 5), True),
    ],
)
def test_outside_the_picture(box: Box, meets: bool) -> None:
    assert box.meets(10, 20) == meets
    assert box.is_whole(10, 20) == (box == Box(0, 0, 10, 20))


def test_around_points() -> None:
    points = np.array([[3, 9], [np.nan, 1], [7, 4], [5, np.nan], [4, 5.5]])
    assert Box.around(points) == Box(3, 4, 4, 5)
    with pytest.raises(ValueError, match="around 1 points, expected at least 2"):
        Box.around(points[:2])
    with pytest.raises(ValueError, match="no extent"):
        Box.around(np.array([[1.0, 2.0], [1.0, 5.0]]))


def test_centre_and_scale_are_the_usual_crop() -> None:
    """The same square as MPII's evaluation has it, from the data set's own side of the code."""
    record = Record("a", np.zeros((9, 9, 3), np.uint8), Person(np.zeros((J, 2)), np.ones(J, bool), np.ones(J, bool)),
                    np.array([300.0, 210.0]), 1.7)  # fmt: skip
    box = Box.of_scale((300, 210), 1.7)
    x, y, side = crop_square(record)
    np.testing.assert_allclose((*box.centre, max(box.width, box.height) * CROP_MARGIN), (x, y, side), rtol=1e-15)
