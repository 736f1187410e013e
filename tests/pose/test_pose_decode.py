"""Decoding against the coordinates that the release reads from the stored maps, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from epcore.pose import decode
from epcore.pose.decode import THRESHOLD

CASES = [("RT", "photo"), ("RT", "gradient"), ("I", "photo")]


@pytest.mark.parametrize(("variant", "name"), CASES)
def test_golden_coordinates_exactly(variant: str, name: str, data_path) -> None:
    golden = np.load(data_path(f"golden/EfficientPose{variant}.npz"))
    points, scores = decode(golden[f"{name}/upscaled"][0])
    np.testing.assert_array_equal(points, golden[f"{name}/coords"])
    assert (scores <= golden[f"{name}/upscaled"][0].max((0, 1))).all()  # smoothing lowers peaks


@pytest.mark.parametrize(("variant", "name"), CASES)
def test_golden_real_time_coordinates_exactly(variant: str, name: str, data_path) -> None:
    golden = np.load(data_path(f"golden/EfficientPose{variant}.npz"))
    maps, expected = golden[f"{name}/upscaled"][0], golden[f"{name}/coords_realtime"]
    points, scores = decode(maps, real_time=True)
    np.testing.assert_array_equal(points, np.where(expected < 0, np.nan, expected))
    np.testing.assert_array_equal(scores, maps.max((0, 1)))
    assert (name == "gradient") == bool(np.isnan(points).all())


def test_peak_centre_on_a_map_that_is_not_square() -> None:
    maps = np.zeros((4, 10, 2), np.float32)
    maps[2, 7, 0] = maps[0, 0, 1] = 1
    points, scores = decode(maps, real_time=True)
    np.testing.assert_allclose(points, [[7.5 / 10, 2.5 / 4], [0.5 / 10, 0.5 / 4]])
    np.testing.assert_array_equal(scores, [1, 1])


def test_smoothing_prefers_a_hill_to_a_spike() -> None:
    maps = np.zeros((32, 32, 1), np.float32)
    maps[5, 6] = 1.0
    maps[20:25, 20:25] = 0.8
    np.testing.assert_array_equal(decode(maps, real_time=True)[0] * 32, [[6.5, 5.5]])
    points, scores = decode(maps)
    np.testing.assert_array_equal(points * 32, [[22.5, 22.5]])
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)  # a normal window cut at four sigma
    inside = weights[2:7].sum() / weights.sum()
    np.testing.assert_allclose(scores, 0.8 * inside**2, rtol=1e-6)


def test_the_border_goes_on_as_its_last_value() -> None:
    """A 1 in the corner stands for everything beyond it: half of the window and its middle, on both axes."""
    maps = np.zeros((16, 16, 1))
    maps[0, 0] = 1
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(decode(maps)[1], weights[:5].sum() ** 2, rtol=1e-12)


def test_maps_are_smoothed_one_by_one() -> None:
    maps = np.zeros((16, 16, 2), np.float32)
    maps[3, 4, 0], maps[12, 11, 1] = 1, 1
    np.testing.assert_array_equal(decode(maps)[0] * 16, [[4.5, 3.5], [11.5, 12.5]])


def test_threshold_applies_to_real_time_only() -> None:
    maps = np.zeros((8, 8, 3))
    maps[4, 4] = THRESHOLD - 1e-9, THRESHOLD, THRESHOLD + 1e-9
    points, scores = decode(maps, real_time=True)
    np.testing.assert_array_equal(np.isnan(points).any(1), [True, False, False])
    np.testing.assert_array_equal(scores, maps[4, 4])
    assert np.isfinite(decode(maps)[0]).all()


def test_equal_peaks_first_wins() -> None:
    np.testing.assert_array_equal(decode(np.ones((6, 6, 1)), real_time=True)[0] * 6, [[0.5, 0.5]])


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8, 16), (0, 8, 16), (8, 8, 0)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"maps have shape .* expected"):
        decode(np.zeros(shape))


def test_maps_stay_untouched(rng: np.random.Generator) -> None:
    maps = rng.random((16, 16, 4), np.float32)
    before = maps.copy()
    decode(maps)
    np.testing.assert_array_equal(maps, before)
