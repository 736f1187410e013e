"""Resampling in one pass against matrices of whole axes: the same grey levels, whoever computes and however pictures lie."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pose_oracles import taps_as_matrix, values_by_matrices

import epcore
from epcore.kernels.cpu.crew import crew
from epcore.pose import fit_square, normalize, preprocess
from epcore.pose.resample import ALONE, taps

SIDES = {"width": st.integers(1, 300), "height": st.integers(1, 300), "size": st.integers(1, 120)}


def by_definition(size: int, target: int) -> np.ndarray:
    """The matrix from the definition: each value interpolated between two averages of mirrored neighbours."""
    scale = size / target
    sigma = max(0.0, (scale - 1) / 2)
    radius = int(4 * sigma + 0.5)
    bell = [np.exp(-0.5 * (k / sigma) ** 2) if sigma else 1.0 for k in range(-radius, radius + 1)]
    whole = np.zeros((target, size))
    for i in range(target):
        centre = (i + 0.5) * scale - 0.5
        low = int(np.floor(centre))
        for place, share in ((low, 1 - (centre - low)), (low + 1, centre - low)):
            for k in range(-radius, radius + 1):
                at = place + k
                while not 0 <= at < size:  # size 1: every mirror shows the one value
                    at = 0 if size == 1 else -at if at < 0 else 2 * (size - 1) - at
                whole[i, at] += share * bell[k + radius] / sum(bell)
    return whole


def check_levels(picture: np.ndarray, size: int) -> None:
    square, geometry = fit_square(picture, size)
    values = values_by_matrices(picture, geometry)
    rows = slice(geometry.top, geometry.top + geometry.resized_height)
    columns = slice(geometry.left, geometry.left + geometry.resized_width)
    clear = np.abs(values - np.round(values)) > 1e-6  # elsewhere rounding decides
    np.testing.assert_array_equal(square[rows, columns][clear], np.floor(values)[clear])
    assert np.abs(square[rows, columns] - values).max() < 1 + 1e-6
    black = square.copy()
    black[rows, columns] = 0
    assert not black.any()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200))
def test_taps_are_the_definition(size: int, target: int) -> None:
    np.testing.assert_allclose(taps_as_matrix(size, target), by_definition(size, target), rtol=0, atol=1e-13)


@settings(max_examples=100, deadline=None)
@given(**SIDES, seed=st.integers(0, 2**32 - 1))
def test_grey_levels_are_those_of_matrices(width: int, height: int, size: int, seed: int) -> None:
    check_levels(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8), size)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (999, 1501), (3, 4000), (4000, 3)])
def test_grey_levels_of_common_pictures(width: int, height: int, rng: np.random.Generator) -> None:
    check_levels(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), 224)


@settings(max_examples=50, deadline=None)
@given(**SIDES, mode=st.sampled_from(["imagenet", "signed"]))
def test_preprocessing_is_the_square_normalised(width: int, height: int, size: int, mode: str) -> None:
    picture = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    square, geometry = fit_square(picture, size)
    x, same = preprocess(picture, size, mode)
    np.testing.assert_array_equal(x[0], normalize(square, mode))
    assert same == geometry


def test_unknown_preprocessing() -> None:
    with pytest.raises(ValueError, match="preprocessing is 'caffe', expected one of imagenet, signed"):
        preprocess(np.zeros((4, 4, 3), np.uint8), 8, "caffe")


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    """Large enough for several threads."""
    picture = rng.integers(0, 256, (700, 900, 3), dtype=np.uint8)
    assert 174 * 2700 * taps(700, 174).count > ALONE
    return picture


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    epcore.set_threads(None)


@pytest.mark.usefixtures("threads")
def test_threads_change_no_bit(picture: np.ndarray) -> None:
    squares = []
    for count in (1, 2, 5):
        epcore.set_threads(count)
        squares += [fit_square(picture, 224)[0] for _ in range(5)]
    for square in squares[1:]:
        np.testing.assert_array_equal(square, squares[0])


@pytest.mark.usefixtures("threads")
def test_a_busy_crew_is_not_waited_for(picture: np.ndarray) -> None:
    epcore.set_threads(2)
    alone = fit_square(picture, 224)[0]
    np.testing.assert_array_equal(crew(2).call(lambda: fit_square(picture, 224)[0]), alone)


def test_pictures_of_any_layout(picture: np.ndarray) -> None:
    expected, _ = fit_square(picture, 100)
    frozen = picture.copy()
    frozen.flags.writeable = False
    wide = np.concatenate([picture, picture], axis=2)
    views = {
        "read-only": frozen,
        "Fortran": np.asfortranarray(picture),
        "mirrored": np.ascontiguousarray(picture[::-1, ::-1])[::-1, ::-1],
        "channels of more": wide[..., 3:],
    }
    for name, view in views.items():
        np.testing.assert_array_equal(fit_square(view, 100)[0], expected, err_msg=name)
    assert picture.flags.writeable


MEMORY = """
import resource, numpy as np
from epcore.pose import fit_square
picture = np.full((20_000, 1_000, 3), 7, np.uint8)
fit_square(picture[:2000], 224)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for turned in (picture, picture.reshape(1_000, 20_000, 3)):
    assert (fit_square(turned, 224)[0].max((0, 1)) == 7).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="units of ru_maxrss differ")
def test_large_pictures_take_no_memory_of_their_own() -> None:
    """60 MB of pixels: less than a tenth of them at work (a float64 copy would be eight times them)."""
    child = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(child.stdout) < 6_000  # KiB
