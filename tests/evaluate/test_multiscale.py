"""Averaging over scales and flips with networks whose output is known."""

from __future__ import annotations

import numpy as np
import pytest

from epcore.data.record import crop_square
from epcore.data.synthetic import SyntheticFigures
from epcore.evaluate.multiscale import average_maps, locate
from epcore.pose.affine import transform_points
from epcore.pose.skeleton import FLIP_PERMUTATION, KEYPOINTS

R = 128


class DotFinder:
    """A network that knows one keypoint: the channels of its name show the red, those of its mirror image the green dot."""

    def __init__(self) -> None:
        self.calls: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.calls.append(x)
        levels = x / 255
        maps = np.zeros((*x.shape[:3], 16), np.float32)
        maps[..., KEYPOINTS.index("left_wrist")] = levels[..., 0]
        maps[..., KEYPOINTS.index("pelvis")] = levels[..., 2]
        return maps


def picture_with_dots() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:300, 0:400] + 0.5
    red, blue = np.array([251.5, 120.5]), np.array([180.5, 190.5])
    pixels = np.zeros((300, 400, 3))
    for channel, (a, b) in ((0, red), (2, blue)):
        pixels[..., channel] = 255 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 6.0**2))
    return pixels.astype(np.uint8), red, blue


@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.25), (0.8,)])
def test_dots_are_found_in_the_original_picture(scales: tuple[float, ...]) -> None:
    pixels, red, blue = picture_with_dots()
    maps, frame = average_maps(DotFinder(), pixels, (200, 150, 200), R, scales=scales, flip=False)
    points, scores = locate(maps, frame, R)
    pixel = 200 / R  # a keypoint is the centre of a pixel of the map: at most half of one off on each axis
    assert abs(points[KEYPOINTS.index("left_wrist")] - red).max() <= 0.5 * pixel + 0.3
    assert abs(points[KEYPOINTS.index("pelvis")] - blue).max() <= 0.5 * pixel + 0.3
    assert scores[KEYPOINTS.index("pelvis")] > 0.7


def test_flip_brings_sides_and_places_back() -> None:
    """In the mirrored picture this network calls the same dot left_wrist, which unmirrored is right_wrist: half of the mean."""
    pixels, red, _ = picture_with_dots()
    model = DotFinder()
    maps, frame = average_maps(model, pixels, (200, 150, 200), R, flip=True)
    assert len(model.calls) == 1
    np.testing.assert_allclose(model.calls[0][1].astype(int), model.calls[0][0][:, ::-1], atol=1)
    left, right = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")
    single = average_maps(model, pixels, (200, 150, 200), R, flip=False)[0]
    np.testing.assert_allclose(maps[..., left], single[..., left] / 2, atol=0.01)
    np.testing.assert_allclose(maps[..., right], single[..., left] / 2, atol=0.01)
    np.testing.assert_allclose(maps[..., KEYPOINTS.index("pelvis")], single[..., KEYPOINTS.index("pelvis")], atol=0.01)
    points, _ = locate(maps, frame, R)
    assert abs(points[right] - red).max() < 1.5


def test_what_a_scale_does_not_see_is_left_to_the_others() -> None:
    """A network that says 1 everywhere averages to 1 everywhere, also where the enlarged crop does not reach."""

    def ones(x: np.ndarray) -> np.ndarray:
        return np.ones((len(x), 16, 16, 16), np.float32)

    pixels = np.zeros((50, 50, 3), np.uint8)
    maps, _ = average_maps(ones, pixels, (25, 25, 50), R, scales=(0.7, 1.0, 1.5), flip=True)
    np.testing.assert_allclose(maps, 1, atol=1e-5)


def test_frame_is_the_crop() -> None:
    record = SyntheticFigures(1, size=96).record(0)
    maps, frame = average_maps(lambda x: np.zeros((len(x), 16, 16, 16), np.float32), record.pixels(), crop_square(record), R)
    assert maps.shape == (16, 16, 16)
    np.testing.assert_allclose(transform_points(np.array([(0, 0), (96, 96)]), frame), [(0, 0), (R, R)], atol=1e-9)
    assert FLIP_PERMUTATION.shape == (16,)


def test_wrong_arguments() -> None:
    pixels = np.zeros((50, 50, 3), np.uint8)
    for scales in ((), (1.0, 0.0)):
        with pytest.raises(ValueError, match="scales is"):
            average_maps(lambda x: x, pixels, (25, 25, 50), R, scales=scales)
    with pytest.raises(ValueError, match=r"predict_maps gave shape \(1, 128, 64, 3\), expected \(1, size, size, keypoints\)"):
        average_maps(lambda x: x[:, :, ::2], pixels, (25, 25, 50), R, flip=False)
