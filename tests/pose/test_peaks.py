"""Peaks against SciPy's filter and NumPy's argmax over whole maps: the same places and values, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from pose_oracles import peaks_of_whole_maps
from scipy.ndimage import gaussian_filter

from epcore.pose.decode import SIGMA, decode
from epcore.pose.peaks import TILE, find_peaks, window

KINDS = ("noise", "steps", "hills", "even", "negative")


def made_up(kind: str, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    noise = rng.random(shape)
    if kind == "steps":  # many equal values: the first has to win
        return np.round(2 * noise)
    if kind == "hills":
        return gaussian_filter(noise, (3, 3, 0))
    if kind == "even":
        return np.full(shape, 0.1)
    return noise - 5 if kind == "negative" else noise


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.0, SIGMA, 2.5])
def test_peaks_are_those_of_whole_maps(kind: str, dtype: type, sigma: float, rng: np.random.Generator) -> None:
    weights = window(sigma) if sigma else np.ones(1)
    sides = (1, 2, TILE - 1, TILE, TILE + 1, 3 * TILE, 70)
    for H, W in zip(rng.permutation(sides), rng.permutation(sides), strict=True):
        maps = made_up(kind, (int(H), int(W), int(rng.integers(1, 20))), rng).astype(dtype)
        places, values = find_peaks(maps, weights)
        expected = peaks_of_whole_maps(maps, sigma)
        np.testing.assert_array_equal(places, expected[0])
        np.testing.assert_array_equal(values, expected[1])
        assert values.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_best_tile_may_not_be_the_one_of_the_highest_value(dtype: type) -> None:
    """A spike of 1 in one tile; in others hills of 0.8, and of those the smoothed peak may lie beyond a tile's border."""
    for y in range(4, 60, 7):
        maps = np.zeros((64, 64, 1), dtype)
        maps[63, 0] = 1
        maps[y - 4 : y + 4, 30:34] = 0.8
        np.testing.assert_array_equal(find_peaks(maps, window(1))[0], peaks_of_whole_maps(maps, 1)[0])


@pytest.mark.parametrize("side", [224, 368])
def test_maps_of_figures(side: int, rng: np.random.Generator) -> None:
    """Gaussians on noise, as networks give them, of 16 keypoints."""
    y, x = np.mgrid[:side, :side]
    for _ in range(3):
        at = rng.uniform(0, side, (16, 2))
        maps = np.exp(-((x[..., None] - at[:, 0]) ** 2 + (y[..., None] - at[:, 1]) ** 2) / 50)
        maps = (maps * rng.uniform(0.05, 1, 16) + rng.normal(0, 0.01, (side, side, 16))).astype(np.float32)
        for sigma in (0.0, SIGMA):
            found = find_peaks(maps, window(sigma) if sigma else np.ones(1))
            for got, expected in zip(found, peaks_of_whole_maps(maps, sigma), strict=True):
                np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("real_time", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maps_that_are_not_numbers_have_no_keypoint(dtype: type, value: float, real_time: bool) -> None:
    """Wherever the value is; and the other maps do not mind."""
    clean = np.random.default_rng(1).random((35, 37, 5)).astype(dtype)
    right = decode(clean, real_time=real_time)
    for y, x, j in ((0, 0, 0), (34, 36, 4), (17, 20, 2)):
        maps = clean.copy()
        maps[y, x, j] = value
        points, scores = decode(maps, real_time=real_time)
        assert np.isnan(points[j]).all() and np.isnan(scores[j])
        others = np.arange(5) != j
        np.testing.assert_array_equal(points[others], right[0][others])
        np.testing.assert_array_equal(scores[others], right[1][others])


def test_maps_of_any_layout_and_type(rng: np.random.Generator) -> None:
    maps = rng.integers(0, 50, (30, 40, 6))
    points, scores = decode(maps.astype(np.float64))
    views = {
        "integers": maps,
        "read-only": np.broadcast_to(maps.astype(np.float64), maps.shape),
        "planes": np.ascontiguousarray(maps.astype(np.float64).transpose(2, 0, 1)).transpose(1, 2, 0),
        "every other": np.repeat(maps.astype(np.float64), 2, axis=1)[:, ::2],
    }
    for name, view in views.items():
        np.testing.assert_array_equal(decode(view)[0], points, err_msg=name)
        np.testing.assert_array_equal(decode(view)[1], scores, err_msg=name)


def test_of_equal_peaks_the_first_row_wins_whatever_the_tile() -> None:
    maps = np.zeros((2 * TILE, 2 * TILE, 1), np.float32)
    maps[5, 2] = maps[1, TILE + 4] = 1
    assert find_peaks(maps, np.ones(1))[0] == 2 * TILE + TILE + 4


def test_a_smoothed_peak_may_lie_above_all_values_of_its_tile() -> None:
    """Rows of 1 and -1 below a tile of 0.3 lift its last row to 0.38, above the 0.35 found before."""
    maps = np.full((4 * TILE, TILE, 1), -1.0, np.float32)
    maps[:TILE] = 0.35
    maps[2 * TILE : 3 * TILE], maps[3 * TILE] = 0.3, 1
    places, values = find_peaks(maps, window(1))
    assert places == peaks_of_whole_maps(maps, 1)[0] == (3 * TILE - 1) * TILE
    assert values == peaks_of_whole_maps(maps, 1)[1]
