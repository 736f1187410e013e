"""`predict` from picture to keypoints: with a made-up model by hand, and with the release's weights against golden values."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pose_oracles import peaks_of_whole_maps, values_by_matrices
from scipy.ndimage import gaussian_filter
from tolerances import outputs_and_bounds, settle

import epcore
from epcore.data.synthetic import SyntheticFigures
from epcore.pose import Geometry, Keypoint, Pose, normalize, predict
from epcore.pose.decode import SIGMA, THRESHOLD
from epcore.pose.preprocess import preprocess
from epcore.pose.resample import ROUNDING
from epcore.pose.skeleton import KEYPOINTS


class PeakModel:
    """Sees one peak at (x, y) of its map, whatever the picture."""

    def __init__(self, x: int, y: int, *, resolution: int = 64, size: int = 64, score: float = 1.0) -> None:
        self.resolution = resolution
        self.maps = np.zeros((1, size, size, len(KEYPOINTS)), np.float32)
        self.maps[0, y, x] = score

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        assert x.shape == (1, self.resolution, self.resolution, 3)
        assert x.dtype == np.float32
        return SimpleNamespace(final=self.maps)


def test_peak_to_pixels_of_an_oblong_picture() -> None:
    """128x64 lies in rows 16 to 48 of 64; map pixel (20, 30) has its centre at (20.5, 30.5), picture (41, 29)."""
    pose = predict(np.zeros((64, 128, 3), np.uint8), PeakModel(20, 30), real_time=True)
    assert (pose.width, pose.height) == (128, 64)
    assert pose.keypoints[0] == Keypoint("head_top", 41.0, 29.0, 1.0)
    assert [point.name for point in pose.keypoints] == list(KEYPOINTS)


def test_maps_smaller_than_the_input() -> None:
    """Without upscaling the last maps are an eighth of the input: (2, 3) of 8x8 is centred at (2.5, 3.5)/8."""
    pose = predict(np.zeros((64, 64, 3), np.uint8), PeakModel(2, 3, size=8))
    np.testing.assert_allclose(pose.points, [[20, 28]] * 16)


def test_keypoints_in_the_padding_are_clipped() -> None:
    pose = predict(np.zeros((64, 128, 3), np.uint8), PeakModel(20, 2), real_time=True)
    assert (pose.keypoints[0].x, pose.keypoints[0].y) == (41.0, 0.0)


def test_missing_keypoints() -> None:
    pose = predict(np.zeros((64, 64, 3), np.uint8), PeakModel(3, 3, score=0.25), real_time=True)
    assert not any(point.found for point in pose.keypoints)
    assert np.isnan(pose.points).all()
    np.testing.assert_array_equal(pose.scores, 0.25)
    row = json.loads(json.dumps(pose.to_json(), allow_nan=False))["keypoints"][0]
    assert row == {"name": "head_top", "x": None, "y": None, "score": 0.25}
    assert all(point.found for point in predict(np.zeros((64, 64, 3), np.uint8), PeakModel(3, 3, score=0.25)).keypoints)


def test_json_form() -> None:
    pose = Pose(10, 20, (Keypoint("thorax", 1 / 3, 2.0, 2 / 3),))
    keypoints = [{"name": "thorax", "x": 0.333, "y": 2.0, "score": 0.6667}]
    assert pose.to_json() == {"width": 10, "height": 20, "score": 0.6667, "keypoints": keypoints}


def test_the_score_of_a_pose_is_the_mean() -> None:
    assert Pose(10, 20, (Keypoint("thorax", 1, 2, 0.5), Keypoint("pelvis", None, None, 0.1))).score == pytest.approx(0.3)


def test_upright_size_is_reported(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "phone.jpg", exif=exif)
    pose = predict(tmp_path / "phone.jpg", PeakModel(0, 0))
    assert (pose.width, pose.height) == (20, 30)


def test_models_that_cannot_be_decoded() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    model = PeakModel(0, 0)
    model.maps[0, 4, 4, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        predict(picture, model)
    model.maps = np.zeros((1, 8, 8, 5), np.float32)
    with pytest.raises(ValueError, match="gives 5 confidence maps, expected 16"):
        predict(picture, model)
    model.resolution = (64, 32)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"\(64, 32\) pixels, expected a square"):
        predict(picture, model)
    with pytest.raises(ValueError, match="training mode"):
        predict(picture, epcore.EfficientPose("RT").train())


@pytest.mark.parametrize("size", [(1, 1), (20_000, 40), (3, 700)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    model = PeakModel(32, 32)
    pose = predict(Image.new("RGB", size), model)
    assert ((pose.points >= 0) & (pose.points <= size)).all()


@pytest.mark.parametrize("switches", [{}, {"upscaling": False}, {"passes": 1}, {"passes": 3, "upscaling": False}])
def test_untrained_networks_and_ablations_predict(switches: dict) -> None:
    pose = epcore.predict(np.full((50, 70, 3), 90, np.uint8), epcore.EfficientPose("RT", **switches))
    assert len(pose.keypoints) == 16
    assert np.isfinite(pose.points).all()


def test_compiled_plans_predict_the_same() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    model = settle(epcore.EfficientPose("RT", seed=3))
    x, _ = preprocess(picture, model.resolution)
    exact, bounds = outputs_and_bounds(model, x)
    bound = 2 * bounds["upscaled"]  # both round
    plan, plain = epcore.predict(picture, epcore.compile(model)), epcore.predict(picture, model)
    np.testing.assert_allclose(plan.scores, plain.scores, rtol=0, atol=bound)
    smooth = gaussian_filter(exact["upscaled"][0], SIGMA, mode="nearest", axes=(0, 1))  # as `decode` searches them
    highest = np.sort(smooth.reshape(-1, 16), axis=0)
    clear = highest[-1] - highest[-2] > 2 * bound  # elsewhere there is a near tie, where the last bit decides
    assert clear.mean() > 0.5
    np.testing.assert_allclose(plan.points[clear], plain.points[clear], rtol=0, atol=1e-9)


@pytest.mark.parametrize("variant", ["RT", "I"])
@pytest.mark.parametrize("real_time", [False, True])
def test_release_keypoints_of_the_photo(variant: str, real_time: bool, data_path) -> None:
    """All 16 within one pixel of the network's full-size map of where the release finds them."""
    golden = np.load(data_path(f"golden/EfficientPose{variant}.npz"))
    model = epcore.EfficientPose(variant)
    epcore.load_weights(model, data_path(f"release/EfficientPose{variant}.h5"))
    pose = epcore.predict(data_path("release/photo.jpg"), model, real_time=real_time)
    assert (pose.width, pose.height) == (1024, 1024)
    expected = golden["photo/coords_realtime" if real_time else "photo/coords"] * 1024
    assert np.abs(pose.points - expected).max() <= 1024 / model.resolution + 1e-9
    assert (pose.scores > 0.3).all()


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_keypoints_of_figures_are_those_of_whole_matrices_and_whole_maps(count: int, data_path) -> None:
    """The release's network on pictures of several sizes and shapes, prepared and decoded both ways: the same keypoints."""
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, data_path("release/EfficientPoseRT.h5"))
    plan = epcore.compile(model)
    side = model.resolution
    for index in range(count):
        pixels = SyntheticFigures(count, size=(150, 256, 480)[index % 3]).record(index).pixels()
        pixels = pixels[: len(pixels) * (4 - index % 2) // 4]  # every other one oblong
        geometry = Geometry.fit(pixels.shape[1], pixels.shape[0], side)
        square = np.zeros((side, side, 3), np.uint8)
        rows = slice(geometry.top, geometry.top + geometry.resized_height)
        columns = slice(geometry.left, geometry.left + geometry.resized_width)
        square[rows, columns] = values_by_matrices(pixels, geometry) + ROUNDING
        maps = plan(normalize(square)[None]).final[0]
        for real_time in (False, True):
            places, values = peaks_of_whole_maps(maps, 0 if real_time else SIGMA)
            points = geometry.to_picture(np.stack([(places % side + 0.5) / side, (places // side + 0.5) / side], axis=1))
            points[real_time & (values < THRESHOLD)] = np.nan
            pose = predict(pixels, plan, real_time=real_time)
            np.testing.assert_array_equal(pose.points, points)
            np.testing.assert_allclose(pose.scores, values, rtol=0, atol=1e-6)
