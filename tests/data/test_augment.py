"""One affine matrix for picture and keypoints; the flip's permutations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from epcore.data.augment import NO_AUGMENTATION, Augmentation, transform_person
from epcore.data.record import Person
from epcore.pose.affine import Change, crop_matrix, invert, transform_points, warp
from epcore.pose.skeleton import (
    FLIP_PERMUTATION,
    KEYPOINTS,
    LIMB_FLIP_PERMUTATION,
    LIMBS,
    PAF_FLIP_PERMUTATION,
    PAF_FLIP_SIGN,
)

changes = st.builds(Change, flip=st.booleans(), scale=st.floats(0.5, 2), angle=st.floats(-math.pi, math.pi))
squares = st.tuples(st.floats(-50, 500), st.floats(-50, 500), st.floats(20, 900))


@given(change=changes, square=squares, size=st.integers(16, 600), point=st.tuples(st.floats(-500, 900), st.floats(-500, 900)))
def test_matrix_is_crop_flip_scale_rotation_in_turn(
    change: Change, square: tuple[float, float, float], size: int, point: tuple[float, float]
) -> None:
    """Step by step, by complex numbers, independent of matrices."""
    x, y, side = square
    z = complex(point[0] - x, point[1] - y)
    if change.flip:
        z = complex(-z.real, z.imag)
    z *= change.scale * size / side * complex(math.cos(change.angle), math.sin(change.angle))
    expected = (z.real + size / 2, z.imag + size / 2)
    matrix = crop_matrix(square, size, change)
    found = transform_points(np.array(point), matrix)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(transform_points(found, invert(matrix)), point, rtol=0, atol=1e-6)


def test_hand_values() -> None:
    """Square of 100 around (60, 40) to 200 pixels, turned by 90 degrees clockwise: right becomes down."""
    matrix = crop_matrix((60, 40, 100), 200, Change(angle=math.pi / 2))
    points = np.array([(60, 40), (70, 40), (60, 50)])
    np.testing.assert_allclose(transform_points(points, matrix), [(100, 100), (100, 120), (80, 100)], atol=1e-12)
    flipped = crop_matrix((60, 40, 100), 200, Change(flip=True))
    np.testing.assert_allclose(transform_points(points, flipped), [(100, 100), (80, 100), (100, 120)], atol=1e-12)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.6, -0.78, 2.5])
@pytest.mark.parametrize("scale", [0.3, 0.75, 1.0, 1.25])
def test_a_dot_goes_where_its_keypoint_goes(flip: bool, angle: float, scale: float) -> None:
    """A soft dot drawn into the picture is found where the matrix says, to a fiftieth of a pixel."""
    y, x = np.mgrid[0:200, 0:240] + 0.5
    place = np.array([131.3, 88.8])
    dot = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 4.0**2)).astype(np.float32)[..., None]
    matrix = crop_matrix((120, 100, 180), 160, Change(flip, scale, angle))
    moved = warp(dot, matrix, 160)[..., 0]
    row, column = center_of_mass(moved)
    np.testing.assert_allclose((column + 0.5, row + 0.5), transform_points(place, matrix), atol=0.02)
    # the amount of light grows with the area
    np.testing.assert_allclose(moved.sum(), dot.sum() * abs(np.linalg.det(matrix[:, :2])), rtol=5e-3)


def test_identity_keeps_the_picture(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(picture, crop_matrix((16, 16, 32), 32), 32), picture)
    np.testing.assert_array_equal(warp(picture, crop_matrix((16, 16, 32), 32, Change(flip=True)), 32), picture[:, ::-1])
    quarter = warp(picture, crop_matrix((16, 16, 32), 32, Change(angle=math.pi / 2)), 32)
    np.testing.assert_array_equal(quarter, np.rot90(picture, -1))


def test_beyond_the_border_is_black() -> None:
    picture = np.full((20, 20, 3), 200, np.uint8)
    wide = warp(picture, crop_matrix((10, 10, 40), 40), 40)
    assert (wide[12:28, 12:28] == 200).all()
    assert (wide[:9] == 0).all()
    assert (wide[:, 31:] == 0).all()


def test_shrinking_does_not_alias() -> None:
    """A chequerboard of single pixels shrunk sixfold is even grey: without a mean over the area it would show moire."""
    board = ((np.indices((240, 240)).sum(axis=0) % 2) * 254).astype(np.uint8)[..., None]
    small = warp(board, crop_matrix((120, 120, 240), 40), 40).astype(int)
    assert abs(small - 127).max() <= 2
    turned = warp(board, crop_matrix((120, 120, 240), 40, Change(angle=0.4)), 40).astype(int)
    assert abs(turned[14:26, 14:26] - 127).max() <= 12


def test_flip_exchanges_sides() -> None:
    keypoints = np.stack([np.arange(16.0), np.arange(16.0) + 100], axis=1)
    annotated, visible = np.ones(16, bool), np.zeros(16, bool)
    annotated[KEYPOINTS.index("left_wrist")] = False
    keypoints[KEYPOINTS.index("left_wrist")] = np.nan
    visible[KEYPOINTS.index("right_knee")] = True
    matrix = crop_matrix((50, 50, 100), 100, Change(flip=True))
    flipped = transform_person(Person(keypoints, annotated, visible), matrix)
    left, right = KEYPOINTS.index("left_elbow"), KEYPOINTS.index("right_elbow")
    np.testing.assert_allclose(flipped.keypoints[left], (100 - keypoints[right, 0], keypoints[right, 1]))
    assert np.flatnonzero(~flipped.annotated).tolist() == [KEYPOINTS.index("right_wrist")]
    assert np.flatnonzero(flipped.visible).tolist() == [KEYPOINTS.index("left_knee")]
    straight = transform_person(Person(keypoints, annotated, visible), crop_matrix((50, 50, 100), 100, Change(angle=1)))
    np.testing.assert_array_equal(straight.annotated, annotated)


def test_permutations_pair_names() -> None:
    for j, other in enumerate(FLIP_PERMUTATION):
        swapped = KEYPOINTS[j].replace("left", "L").replace("right", "left").replace("L", "right")
        assert KEYPOINTS[other] == swapped
    for limb, other in enumerate(LIMB_FLIP_PERMUTATION):
        assert tuple(FLIP_PERMUTATION[list(LIMBS[limb])]) == LIMBS[other]
    np.testing.assert_array_equal(PAF_FLIP_PERMUTATION[PAF_FLIP_PERMUTATION], np.arange(28))
    np.testing.assert_array_equal(PAF_FLIP_PERMUTATION % 2, np.arange(28) % 2)  # x stays x, y stays y
    np.testing.assert_array_equal(PAF_FLIP_SIGN, [-1, 1] * 14)


def test_draws_stay_in_range_and_vary() -> None:
    rng = np.random.default_rng(0)
    drawn = [Augmentation().sample(rng) for _ in range(2000)]
    scales, angles = np.array([change.scale for change in drawn]), np.degrees([change.angle for change in drawn])
    assert scales.min() >= 0.75
    assert scales.max() <= 1.25
    assert scales.min() < 0.76
    assert scales.max() > 1.24
    assert abs(angles).max() <= 45
    assert abs(angles).max() > 44
    assert abs(np.mean([change.flip for change in drawn]) - 0.5) < 4 * 0.5 / math.sqrt(2000)
    assert NO_AUGMENTATION.sample(rng) == Change()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flip": 2}, "flip is 2"),
        ({"scale": (1.2, 0.8)}, "scale is"),
        ({"scale": (0, 1)}, "scale is"),
        ({"rotation": -1}, "rotation"),
    ],
)
def test_wrong_ranges(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)  # type: ignore[arg-type]


def test_wrong_squares_and_pictures() -> None:
    with pytest.raises(ValueError, match="square of 0 pixels"):
        crop_matrix((1, 2, 0), 100)
    with pytest.raises(ValueError, match="has no inverse"):
        invert(np.zeros((2, 3)))
    with pytest.raises(TypeError, match="dtype float64"):
        warp(np.zeros((4, 4, 3)), crop_matrix((2, 2, 4), 4), 4)
    with pytest.raises(ValueError, match=r"shape \(0, 4, 3\)"):
        warp(np.zeros((0, 4, 3), np.uint8), crop_matrix((2, 2, 4), 4), 4)
