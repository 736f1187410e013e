"""Places between cells: exact shapes by hand, and each formula against another way of writing it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from epcore.commands import predict as command
from epcore.pose import decode
from epcore.pose.refine import METHODS, PEAK

SIZE = 28
INSIDE = st.floats(3, SIZE - 3)


def target(x: float, y: float, sigma: float, size: int = SIZE) -> np.ndarray:
    """Equation 4 about (x, y), cells: (size,size,1) float64."""
    at = np.arange(size) + 0.5
    return np.exp(-((at - x)[None, :] ** 2 + (at - y)[:, None] ** 2) / sigma**2)[..., None]


@settings(max_examples=200, deadline=None)
@given(INSIDE, INSIDE, st.floats(0.8, 5), st.floats(0.01, 3))
def test_a_parabola_is_exact_for_the_shape_that_is_learnt(x: float, y: float, sigma: float, height: float) -> None:
    points, _ = decode(height * target(x, y, sigma), method="parabola")
    # logarithms of about 10, rounded, over a bend of 2 / sigma^2
    np.testing.assert_allclose(points[0] * SIZE, [x, y], rtol=0, atol=20 * np.finfo(float).eps * 10 * sigma**2)


@settings(max_examples=100, deadline=None)
@given(INSIDE, INSIDE, st.floats(1.0, 3))
def test_dark_is_exact_too_where_the_window_is_not_cut(x: float, y: float, sigma: float) -> None:
    """Smoothed, a normal shape stays one. The window ends at three of its widths, which leaves thousandths of a cell."""
    points, _ = decode(target(x, y, sigma), method="dark")
    if min(x, y) > 4 and max(x, y) < SIZE - 4:
        np.testing.assert_allclose(points[0] * SIZE, [x, y], rtol=0, atol=0.02)


@given(INSIDE, INSIDE)
def test_a_quarter_goes_to_the_larger_neighbour(x: float, y: float) -> None:
    points, _ = decode(target(x, y, 1.2), method="quarter")
    for found, true in zip(points[0] * SIZE, (x, y), strict=True):
        middle = np.floor(true) + 0.5
        if 1e-6 < abs(true - middle) < 0.5 - 1e-6:
            assert found == pytest.approx(middle + 0.25 * np.sign(true - middle), abs=1e-12)


def by_polynomial(logs: np.ndarray) -> float:
    """The top of the parabola through three values at -1, 0, 1."""
    a, b, _ = np.polyfit([-1, 0, 1], logs, 2)
    return -b / (2 * a)


@pytest.mark.parametrize("seed", range(5))
def test_parabola_and_dark_on_rough_maps_are_their_formulas(seed: int) -> None:
    """By a polynomial fit, and by SciPy's filter over the whole map and gradients of it."""
    rng = np.random.default_rng(seed)
    maps = target(13.3 + seed / 7, 9.8, 2.0) + 0.02 * rng.random((SIZE, SIZE, 1))
    y, x = np.unravel_index(maps[..., 0].argmax(), (SIZE, SIZE))
    logs = np.log(maps[..., 0])
    points, _ = decode(maps, method="parabola")
    expected = x + 0.5 + by_polynomial(logs[y, x - 1 : x + 2]), y + 0.5 + by_polynomial(logs[y - 1 : y + 2, x])
    np.testing.assert_allclose(points[0] * SIZE, expected, rtol=0, atol=1e-9)

    smooth = np.log(gaussian_filter(maps[..., 0], PEAK * SIZE, mode="nearest", radius=int(3 * PEAK * SIZE + 0.5)))
    down, across = np.gradient(smooth)
    bend = np.array(
        [[np.gradient(across, axis=1)[y, x], np.gradient(across, axis=0)[y, x]],
         [np.gradient(down, axis=1)[y, x], np.gradient(down, axis=0)[y, x]]]
    )  # fmt: skip
    step = np.linalg.solve(bend, [across[y, x], down[y, x]])
    points, _ = decode(maps, method="dark")
    np.testing.assert_allclose(points[0] * SIZE, [x + 0.5 - step[0], y + 0.5 - step[1]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", [(0, 0), (0, 9), (31, 31), (1, 30), (16, 5)])
def test_spikes_and_borders_stay_in_their_cell(method: str, place: tuple[int, int]) -> None:
    maps = np.zeros((32, 32, 1), np.float32)
    maps[place] = 1
    points, scores = decode(maps, method=method, real_time=True)  # type: ignore[arg-type]
    np.testing.assert_allclose(points[0] * 32, (place[1] + 0.5, place[0] + 0.5), rtol=0, atol=1e-6)
    assert scores[0] == 1


@pytest.mark.parametrize("method", [method for method in METHODS if method != "release"])
def test_what_is_no_peak(method: str) -> None:
    """Flat, negative, one cell: no errors, no warnings, the cell's middle. NaN: no keypoint. Below 0.3: none in real time."""
    flat = np.full((9, 9, 1), 0.5)
    np.testing.assert_array_equal(decode(flat, method=method)[0] * 9, [[0.5, 0.5]])  # type: ignore[arg-type]
    np.testing.assert_array_equal(decode(-flat, method=method)[0] * 9, [[0.5, 0.5]])  # type: ignore[arg-type]
    np.testing.assert_array_equal(decode(flat[:1, :1], method=method)[0], [[0.5, 0.5]])  # type: ignore[arg-type]
    flat[2, 2] = np.nan
    assert np.isnan(decode(flat, method=method)[0]).all()  # type: ignore[arg-type]
    low = 0.2 * target(9.2, 9.2, 2.0)
    assert np.isnan(decode(low, method=method, real_time=True)[0]).all()  # type: ignore[arg-type]
    assert np.isfinite(decode(low, method=method)[0]).all()  # type: ignore[arg-type]


def test_the_largest_cell_is_that_of_the_map_as_it_is() -> None:
    """Only the release smooths first."""
    maps = np.zeros((32, 32, 1), np.float32)
    maps[5, 6], maps[20:25, 20:25] = 1.0, 0.8
    np.testing.assert_array_equal(decode(maps, method="parabola")[0] * 32, [[6.5, 5.5]])
    np.testing.assert_array_equal(decode(maps, method="release")[0], decode(maps)[0])


def test_unknown_methods() -> None:
    with pytest.raises(ValueError, match="method is 'argmax', expected one of release, parabola, dark, quarter"):
        decode(np.zeros((4, 4, 1)), method="argmax")  # type: ignore[arg-type]
    assert command.METHODS == METHODS
