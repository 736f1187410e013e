"""Crops against SciPy's filters on the whole picture, against the whole picture's own preprocessing, and by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import epcore
from epcore.pose import MEAN, STD, Box, normalize, predict, preprocess
from epcore.pose.crop import Crop, preprocess_crop, preprocess_part
from epcore.pose.resample import ALONE, part_taps, resample_by
from epcore.pose.skeleton import KEYPOINTS


def cropped(picture: np.ndarray, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """float64 (size,size,3) by SciPy on the whole picture, and (size,size) bool: where the picture is."""
    scale = crop.side / crop.size
    blurred = ndimage.gaussian_filter(picture.astype(float), (max(0, (scale - 1) / 2),) * 2 + (0,), mode="mirror")
    across = crop.x + (np.arange(crop.size) + 0.5) * scale
    down = crop.y + (np.arange(crop.size) + 0.5) * scale
    grid = np.meshgrid(down - 0.5, across - 0.5, indexing="ij")
    values = np.stack([ndimage.map_coordinates(blurred[:, :, c], grid, order=1, mode="mirror") for c in range(3)], axis=-1)
    return values, ((down >= 0) & (down <= crop.height))[:, None] & ((across >= 0) & (across <= crop.width))


SIDES = st.integers(1, 60)
PLACES = st.floats(-40, 80, width=32)


@settings(max_examples=100, deadline=None)
@given(SIDES, SIDES, st.integers(1, 40), PLACES, PLACES, st.floats(0.5, 120, width=32), st.integers(0, 2**32 - 1))
def test_a_crop_is_the_blurred_picture_read_at_its_pixels(
    width: int, height: int, size: int, x: float, y: float, side: float, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    crop = Crop(width, height, size, x, y, side)
    (left, columns), (top, rows) = crop.visible(0), crop.visible(1)
    expected, inside = cropped(picture, crop)
    assert (inside.any(axis=0).sum(), inside.any(axis=1).sum()) == ((columns, rows) if columns and rows else (0, 0))
    if not (rows and columns):
        return
    scale = side / size
    values = np.empty((rows, columns, 3))
    resample_by(
        picture,
        part_taps(height, scale, y + top * scale, rows),
        part_taps(width, scale, x + left * scale, columns),
        None,
        values,
    )
    np.testing.assert_allclose(values, expected[top : top + rows, left : left + columns], rtol=0, atol=1e-8)

    clear = inside & (np.abs(expected - np.round(expected)) > 1e-6).all(axis=2)  # elsewhere rounding decides the level
    levels = np.where(inside[..., None], np.floor(expected), 0).astype(np.uint8)
    taken = preprocess_crop(picture, crop, "signed")[0]
    np.testing.assert_array_equal(taken[clear | ~inside], normalize(levels, "signed")[clear | ~inside])


def test_several_threads_change_no_bit(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (700, 900, 3), dtype=np.uint8)
    crop = Crop(900, 700, 224, 100.3, -50.2, 690.7)
    assert 224 * 3 * 690 * part_taps(700, crop.side / 224, 0.0, 224).count > ALONE
    try:
        epcore.set_threads(1)
        alone = preprocess_crop(picture, crop)
        epcore.set_threads(3)
        np.testing.assert_array_equal(preprocess_crop(picture, crop), alone)
    finally:
        epcore.set_threads(None)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 90))
def test_the_whole_picture_is_as_without_a_box(width: int, height: int, size: int) -> None:
    picture = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected, geometry = preprocess(picture, size)
    for box, margin in ((None, 1.25), (Box(0, 0, width, height), 1)):
        x, same = preprocess_part(picture, size, box=box, margin=margin)
        np.testing.assert_array_equal(x, expected)
        assert same == geometry


@pytest.mark.parametrize(("width", "height", "size"), [(64, 64, 32), (50, 50, 64), (128, 64, 32), (30, 90, 45)])
def test_a_crop_of_the_whole_picture_is_the_same_where_nothing_is_rounded(width: int, height: int, size: int) -> None:
    """Sizes whose shorter side, and the padding beside it, are whole numbers of input pixels."""
    picture = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected, geometry = preprocess(picture, size)
    crop = Crop.around(width, height, size, Box(0, 0, width, height), 1)
    np.testing.assert_array_equal(preprocess_crop(picture, crop), expected)
    points = np.random.default_rng(0).random((9, 2))
    np.testing.assert_allclose(crop.to_picture(points), geometry.to_picture(points), rtol=0, atol=1e-12 * max(width, height))


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(16, 224))
def test_a_crop_of_the_whole_picture_is_within_half_an_input_pixel_elsewhere(width: int, height: int, size: int) -> None:
    geometry = preprocess(np.zeros((height, width, 3), np.uint8), size)[1]
    crop = Crop.around(width, height, size, Box(0, 0, width, height), 1)
    corners = np.array([[0.0, 0.0], [width, height]])
    # half a pixel of rounding of the length, a half of odd padding, and a half of the rounded length beside the middle
    assert np.abs(crop.to_square(corners) - geometry.to_square(corners)).max() * size <= 1 + 1e-9


def test_a_tall_box_shows_what_is_beside_it_and_black_beyond_the_picture() -> None:
    picture = np.full((100, 80, 3), 255, np.uint8)
    x, crop = preprocess_part(picture, 50, box=Box(60, 0, 10, 100), margin=1)  # a square from x = 15 to 115: 65 of 100 inside
    assert crop == Crop(80, 100, 50, 15, 0, 100)
    white, black = (1 - MEAN) / STD, -MEAN / STD
    np.testing.assert_allclose(x[0, :, :32], np.broadcast_to(white, (50, 32, 3)), rtol=1e-6)
    np.testing.assert_allclose(x[0, :, 33:], np.broadcast_to(black, (50, 17, 3)), rtol=1e-6)


@given(st.floats(-50, 150), st.floats(-50, 150), st.floats(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_coordinates_return(x: float, y: float, side: float, u: float, v: float) -> None:
    crop = Crop(100, 120, 64, x, y, side)
    point = np.array([100 * u, 120 * v])
    np.testing.assert_allclose(crop.to_picture(crop.to_square(point)), point, rtol=0, atol=1e-10)


def test_points_beyond_the_picture_are_clipped_and_missing_ones_stay_missing() -> None:
    points = Crop(100, 50, 64, -20, -10, 200).to_picture(np.array([[0, 0], [1, 1], [0.5, 0.2], [np.nan, np.nan]]))
    np.testing.assert_array_equal(points, [[0, 0], [100, 50], [80, 30], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("box", "margin", "message"),
    [
        (Box(100, 0, 10, 10), 1.25, r"100,0,10,10 \(x, y, width, height\) lies outside the picture of 100x50 pixels"),
        (Box(0, -20, 10, 20), 9, "lies outside"),  # though its square, with the margin, would show some of it
        (Box(-1e9, -1e9, 2e9 + 1, 2e9 + 1), 1, "leaves nothing of the picture"),
        (Box(0, 0, 10, 10), 0, "margin is 0, expected a positive factor"),
        (Box(0, 0, 10, 10), float("nan"), "margin is nan"),
        (Box(0, 0, 10, 10), float("inf"), "margin is inf"),
    ],
)
def test_boxes_that_show_nothing(box: Box, margin: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preprocess_part(np.zeros((50, 100, 3), np.uint8), 64, box=box, margin=margin)


@pytest.mark.parametrize("box", [Box(99.99, 49.99, 500, 500), Box(3, 3, 1e-3, 1e-3), Box(-1000, -1000, 3000, 3000)])
def test_odd_boxes_still_give_numbers(box: Box) -> None:
    x, _ = preprocess_part(np.full((50, 100, 3), 77, np.uint8), 64, box=box)
    assert np.isfinite(x).all()
    assert x.max() > 0.0 or x.min() < 0.0


class BrightSpot:
    """Finds every keypoint at the brightest place of its input."""

    resolution = 64

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(final=np.repeat(x[..., :1], len(KEYPOINTS), axis=3))


@pytest.mark.parametrize("box", [(30, 10, 40, 60), (-20, -30, 100, 100), (45, 35, 10, 10), (40, 20, 200, 200)])
def test_keypoints_come_back_in_the_picture(box: tuple[float, ...]) -> None:
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[38:42, 48:52] = 255  # a spot around (50, 40)
    pose = predict(picture, BrightSpot(), box=box)
    pixel = max(box[2:]) * 1.25 / 64
    reach = 1.5 + pixel  # between the middles of the spot's outer pixels it is equally bright
    np.testing.assert_allclose(pose.points, np.full((16, 2), (50, 40)), atol=reach)
    assert (pose.width, pose.height, pose.box) == (120, 80, Box(*box))
    assert pose.to_json()["box"] == list(box)
    assert "box" not in predict(picture, BrightSpot()).to_json()


def test_bad_boxes_are_said_before_the_picture_is_read() -> None:
    with pytest.raises(TypeError, match="the box is \\(1, 2\\)"):
        predict("nowhere.jpg", BrightSpot(), box=(1, 2))
    with pytest.raises(ValueError, match="has no extent"):
        predict("nowhere.jpg", BrightSpot(), box=(1, 2, 0, 4))
