"""Mirrored and scaled looks of `predict` with networks whose output is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from epcore.pose import Box, predict
from epcore.pose.averaging import average, changes
from epcore.pose.skeleton import KEYPOINTS

LEFT, RIGHT = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")


class RedDot:
    """Calls the red dot left_wrist, whatever it sees."""

    resolution, preprocessing = 64, "signed"

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        self.seen.append(x)
        maps = np.zeros((1, 64, 64, len(KEYPOINTS)), np.float32)
        maps[..., LEFT] = (x[..., 0] + 1) / 2
        return SimpleNamespace(final=maps, confs=(maps[:, 4::8, 4::8],))


def picture() -> np.ndarray:
    """A wide dot around (84.5, 40.5)."""
    y, x = np.mgrid[0:96, 0:128] + 0.5
    pixels = np.zeros((96, 128, 3))
    pixels[..., 0] = 255 * np.exp(-((x - 84.5) ** 2 + (y - 40.5) ** 2) / (2 * 8.0**2))
    return pixels.astype(np.uint8)


@pytest.mark.parametrize("box", [None, (60, 10, 50, 70), Box(40, -30, 100, 100)])
def test_scales_agree_on_the_place(box: Box | tuple[float, ...] | None) -> None:
    model = RedDot()
    pose = predict(picture(), model, box=box, scales=(0.8, 1, 1.25), method="parabola")
    assert len(model.seen) == 3
    side = 128 if box is None else 1.25 * max(box.width, box.height) if isinstance(box, Box) else 1.25 * max(box[2:])
    np.testing.assert_allclose(pose.points[LEFT], (84.5, 40.5), atol=0.6 * side / 64)
    assert pose.scores[LEFT] > 0.85
    spread = [np.sqrt((each[0, ..., 0] > 0).sum()) for each in model.seen]  # how wide the dot is in the input
    np.testing.assert_allclose(np.divide(spread, spread[1]), (0.8, 1, 1.25), rtol=0.12)


def test_a_mirrored_look_is_the_mirrored_input_and_comes_back_with_sides_exchanged() -> None:
    model = RedDot()
    pose = predict(picture(), model, flip=True)
    plain, mirrored = model.seen
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])
    single = predict(picture(), RedDot())
    np.testing.assert_array_equal(pose.points[LEFT], single.points[LEFT])
    np.testing.assert_array_equal(pose.points[RIGHT], single.points[LEFT])  # what it calls left there is right here
    np.testing.assert_allclose(pose.scores[[LEFT, RIGHT]], single.scores[LEFT] / 2, rtol=1e-6)


def test_scale_one_alone_is_no_change() -> None:
    plain, scaled = predict(picture(), RedDot()), predict(picture(), RedDot(), scales=(1.0,))
    assert plain == scaled


def test_maps_before_upscaling() -> None:
    """Every eighth value of the map, (4, 4) the first, as 8 x 8 cells: the dot at (42.25, 28.25) of 64 lies in cell (5, 3)."""
    pose = predict(picture(), RedDot(), coarse=True, real_time=True)
    np.testing.assert_allclose(pose.points[LEFT], (5.5 / 8 * 128, 3.5 / 8 * 128 - 16))
    with pytest.raises(ValueError, match="no maps before upscaling"):
        predict(picture(), _NoCoarse(), coarse=True)


class _NoCoarse(RedDot):
    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(final=super().__call__(x).final)


def test_places_that_one_scale_does_not_see_are_the_others() -> None:
    looks = changes((0.5, 1.0), False)
    small, large = np.full((16, 16, 16), 0.25, np.float32), np.full((16, 16, 16), 0.75, np.float32)
    mean = average([small, large], looks)  # at 0.5 the frame is the middle half of the map: both see all of it
    np.testing.assert_allclose(mean, 0.5, rtol=1e-6)
    mean = average([small, large], changes((2.0, 1.0), False))  # at 2 only the middle half of the frame is seen
    np.testing.assert_allclose(mean[6:10, 6:10], 0.5, rtol=1e-6)
    np.testing.assert_allclose(mean[:3], 0.75, rtol=1e-6)


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (float("nan"),), (float("inf"),)])
def test_wrong_scales(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected one or more positive factors"):
        predict(picture(), RedDot(), scales=scales)


def test_a_scale_that_leaves_nothing_of_the_picture() -> None:
    with pytest.raises(ValueError, match="the box at scale 50 shows nothing of the picture of 128x96 pixels"):
        predict(picture(), RedDot(), box=(100, 20, 100, 20), scales=(50.0,))
