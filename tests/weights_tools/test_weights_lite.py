"""The release's Lite files: their names, the networks they fill, and the input those want, through the commands too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from tolerances import outputs_and_bounds

import epcore
from epcore.backend import use_backend
from epcore.cli import main
from epcore.evaluate.dataset import map_predictor
from epcore.export.keras import export_keras
from epcore.export.weights import export_weights
from epcore.pose import normalize, preprocess

DataPath = Callable[[str], Path]
Values = dict[str, dict[str, np.ndarray]]


def batch_norm(channels: int) -> dict[str, tuple[int, ...]]:
    return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (channels,))


def backbone_layers(scale: str, channels: list[int], kernels: list[int]) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Layers of EfficientNet-Lite as the release's files write them; channels: after every MBConv."""
    root = f"{scale}/model"
    yield f"{root}/stem/conv2d/Conv2D_0", {"kernel": (3, 3, 3, 32)}
    yield f"{root}/stem/tpu_batch_normalization/FusedBatchNormV3_0", batch_norm(32)
    before = 32
    for index, (after, size) in enumerate(zip(channels, kernels, strict=True)):
        block, hidden = f"{root}/blocks_{index}", before if index == 0 else 6 * before
        if index > 0:
            yield f"{block}/conv2d/Conv2D_0", {"kernel": (1, 1, before, hidden)}
            yield f"{block}/tpu_batch_normalization/FusedBatchNormV3_0", batch_norm(hidden)
        yield f"{block}/depthwise_conv2d/depthwise_0", {"depthwise_kernel": (size, size, hidden, 1)}
        middle, last = ("", "_1") if index == 0 else ("_1", "_2")
        yield f"{block}/tpu_batch_normalization{middle}/FusedBatchNormV3_0", batch_norm(hidden)
        yield f"{block}/conv2d{middle if index else ''}/Conv2D_0", {"kernel": (1, 1, hidden, after)}
        yield f"{block}/tpu_batch_normalization{last}/FusedBatchNormV3_0", batch_norm(after)
        before = after


def pose_layers(features: int, width: int) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Passes of one block and the upscaling; no heads but the last."""
    given = features
    for number, task in ((1, "skeleton"), (2, "detection1"), (3, "detection2")):
        for mbconv, channels in ((1, given), (2, width), (3, 2 * width)):
            name = f"pass{number}_block1_mbconv{mbconv}_{task}"
            yield f"{name}_conv1", {"kernel": (1, 1, channels, 6 * width)}
            yield f"{name}_conv1_bn", batch_norm(6 * width)
            yield f"{name}_dconv1", {"depthwise_kernel": (5, 5, 6 * width, 1)}
            yield f"{name}_dconv1_bn", batch_norm(6 * width)
            yield f"{name}_conv2", {"kernel": (1, 1, 6 * width, width)}
            yield f"{name}_conv2_bn", batch_norm(width)
        given = 3 * width + features
    yield "pass3_detection2_confs", {"kernel": (1, 1, 3 * width, 16), "bias": (16,)}
    for name in ("upscaled_deconv1", "upscaled_deconv2", "upscaled_confs"):
        yield name, {"kernel": (4, 4, 16, 16), "bias": (16,)}


FILES = {
    "RT": ("efficientnet-lite0", [16, 24, 24, 40, 40], [3, 3, 3, 5, 5], 40),
    "I": ("efficientnet-lite2", [16, 24, 24, 24, 48, 48, 48], [3, 3, 3, 3, 5, 5, 5], 48),
}


def write_release(path: Path, variant: str) -> Values:
    """A file as Keras 2.3.1 wrote the release's, with random values; slashes in the names of layers nest its groups."""
    scale, channels, kernels, width = FILES[variant]
    layers = [*backbone_layers(scale, channels, kernels), *pose_layers(channels[-1], width)]
    rng = np.random.default_rng(3)
    values: Values = {}
    with h5py.File(path, "w") as file:
        file.attrs.update(keras_version="2.3.1", backend="tensorflow", model_config="{}")
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([b"input_1_0", *(name.encode() for name, _ in layers)])
        root.create_group("input_1_0").attrs["weight_names"] = np.zeros(0)
        for name, arrays in layers:
            group = root.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{array}:0".encode() for array in arrays])
            values[name] = {array: rng.uniform(0.1, 1, shape).astype(np.float32) for array, shape in arrays.items()}
            for array, numbers in values[name].items():
                group[f"{name}/{array}:0"] = numbers
    return values


@pytest.mark.parametrize("variant", FILES)
def test_every_array_of_a_file_has_its_place(variant: str, tmp_path: Path) -> None:
    values = write_release(tmp_path / "lite.h5", variant)
    model = epcore.EfficientPoseLite(variant)
    manifest = epcore.load_weights(model, tmp_path / "lite.h5")
    assert manifest.layout == "Keras full model"
    assert manifest.missing == manifest.unused == []
    assert sum(array.size for arrays in values.values() for array in arrays.values()) == sum(
        array.size for array in model.parameters.values()
    )
    scale = FILES[variant][0]
    for parameter, layer, array in (
        ("high.stem_conv/kernel", f"{scale}/model/stem/conv2d/Conv2D_0", "kernel"),
        ("high.block1a.bn/gamma", f"{scale}/model/blocks_0/tpu_batch_normalization/FusedBatchNormV3_0", "gamma"),
        ("high.block1a.project_bn/beta", f"{scale}/model/blocks_0/tpu_batch_normalization_1/FusedBatchNormV3_0", "beta"),
        ("high.block2a.project_conv/kernel", f"{scale}/model/blocks_1/conv2d_1/Conv2D_0", "kernel"),
        ("high.block2b.bn/beta", f"{scale}/model/blocks_2/tpu_batch_normalization_1/FusedBatchNormV3_0", "beta"),
        (
            "high.block3a.dwconv/kernel",
            f"{scale}/model/blocks_{'3' if variant == 'RT' else '4'}/depthwise_conv2d/depthwise_0",
            "depthwise_kernel",
        ),
        ("pass2.block1.mbconv3.expand_conv/kernel", "pass2_block1_mbconv3_detection1_conv1", "kernel"),
        ("upscale3/bias", "upscaled_confs", "bias"),
    ):
        expected = values[layer][array]
        assert np.array_equal(model.parameters[parameter], expected[..., 0] if array.startswith("depthwise") else expected)


def test_another_variants_file_is_named(tmp_path: Path) -> None:
    write_release(tmp_path / "lite.h5", "RT")
    for model, what in (
        (epcore.EfficientPoseLite("I"), r"pass1_block1_mbconv1_skeleton_conv1/kernel has shape \(1, 1, 40, 240\)"),
        (
            epcore.EfficientPose("RT"),
            r"the first is high\.stem_conv/kernel \(there it would be stem_conv_res1/kernel\)\. It holds a Lite network",
        ),
    ):
        with pytest.raises(ValueError, match=rf"lite\.h5 does not hold weights of {model.name}: .*{what}"):
            epcore.load_weights(model, tmp_path / "lite.h5")


def test_heads_that_the_files_lack(tmp_path: Path) -> None:
    write_release(tmp_path / "lite.h5", "RT")
    model = epcore.EfficientPoseLite("RT", auxiliary_heads=True)
    with pytest.raises(ValueError, match=r"the first is pass1\.pafs/kernel"):
        epcore.load_weights(model, tmp_path / "lite.h5")
    manifest = epcore.load_weights(model, tmp_path / "lite.h5", strict=False)
    assert manifest.missing == [f"{head}/{array}" for head in ("pass1.pafs", "pass2.confs") for array in ("kernel", "bias")]


def test_keras_export_has_the_same_names(tmp_path: Path) -> None:
    write_release(tmp_path / "lite.h5", "RT")
    model, back = epcore.EfficientPoseLite("RT"), epcore.EfficientPoseLite("RT", seed=1)
    epcore.load_weights(model, tmp_path / "lite.h5")
    export_keras(model, tmp_path / "back.h5")
    with h5py.File(tmp_path / "lite.h5") as theirs, h5py.File(tmp_path / "back.h5") as ours:
        names = set(theirs["model_weights"].attrs["layer_names"]) - {b"input_1_0"}
        assert names == set(ours.attrs["layer_names"])
        for name in map(bytes.decode, names):
            expected = theirs["model_weights"][name]
            assert list(ours[name].attrs["weight_names"]) == list(expected.attrs["weight_names"])
            for path in map(bytes.decode, expected.attrs["weight_names"]):
                assert np.array_equal(ours[name][path], expected[path])
    epcore.load_weights(back, tmp_path / "back.h5")
    assert all(np.array_equal(back.parameters[name], array) for name, array in model.parameters.items())


@pytest.mark.parametrize("link", [h5py.SoftLink("/elsewhere"), h5py.ExternalLink("other.h5", "/elsewhere")])
def test_links_in_the_middle_of_a_name_are_not_followed(link: object, tmp_path: Path) -> None:
    write_release(tmp_path / "lite.h5", "RT")
    with h5py.File(tmp_path / "lite.h5", "r+") as file:
        file["elsewhere"] = file["model_weights/efficientnet-lite0/model"]
        with h5py.File(tmp_path / "other.h5", "w") as other:
            file.copy("elsewhere", other)
        del file["model_weights/efficientnet-lite0/model"]
        file["model_weights/efficientnet-lite0/model"] = link
    with pytest.raises(ValueError, match="/model is a link to elsewhere, which is not followed"):
        epcore.load_weights(epcore.EfficientPoseLite("RT"), tmp_path / "lite.h5")


class TestInput:
    def test_levels(self) -> None:
        pixels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
        expected = pixels / 127.5 - 1
        np.testing.assert_allclose(normalize(pixels, "signed"), expected, rtol=0, atol=np.finfo(np.float32).eps)

    def test_unknown(self) -> None:
        with pytest.raises(ValueError, match="preprocessing is 'caffe', expected one of imagenet, signed"):
            preprocess(np.zeros((4, 4, 3), np.uint8), 8, "caffe")

    @pytest.mark.parametrize("compiled", [False, True])
    def test_predict_gives_a_network_its_own(self, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        white = np.full((40, 40, 3), 255, np.uint8)
        for model, level in ((epcore.EfficientPoseLite("RT"), 1.0), (epcore.EfficientPose("RT"), (1 - 0.485) / 0.229)):
            runs = epcore.compile(model) if compiled else model
            seen = []
            call = type(runs).__call__
            monkeypatch.setattr(type(runs), "__call__", lambda self, x, call=call, seen=seen: seen.append(x) or call(self, x))
            epcore.predict(white, runs)
            monkeypatch.undo()
            assert seen[0].shape == (1, 224, 224, 3)
            np.testing.assert_allclose(seen[0][..., 0], level, rtol=1e-6)

    @pytest.mark.parametrize("backend", ["auto", "reference"])
    def test_evaluation_gives_a_network_its_own(self, backend: str) -> None:
        white = np.full((1, 64, 64, 3), 255, np.uint8)
        for model, own, other in (
            (epcore.EfficientPoseLite("RT"), "signed", "imagenet"),
            (epcore.EfficientPose("RT"), "imagenet", "signed"),
        ):
            with use_backend(backend):
                maps = map_predictor(model, 1, 64, backend=backend)(white).copy()
            expected, wrong = (model(normalize(white, mode)).final for mode in (own, other))
            bound = 2 * outputs_and_bounds(model, normalize(white, own))[1]["upscaled"]  # both round
            np.testing.assert_allclose(maps, expected, rtol=0, atol=bound)
            assert np.abs(wrong - expected).max() > 100 * bound


class TestCommands:
    @pytest.fixture
    def lite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        export_weights(epcore.EfficientPoseLite("RT", seed=2), "lite.npz")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save("noise.png")
        return tmp_path

    @pytest.mark.parametrize("name", ["RT Lite", "RT_Lite", "rt-lite"])
    def test_predict(self, name: str, lite: Path, capsys: pytest.CaptureFixture[str]) -> None:
        model = epcore.EfficientPoseLite("RT", seed=2)
        expected = epcore.predict("noise.png", model).to_json()["keypoints"]
        assert main(["predict", "noise.png", "--model", name, "--weights", "lite.npz", "--json", "-"]) == 0
        (pose,) = json.loads(capsys.readouterr().out)
        for ours, theirs in zip(pose["keypoints"], expected, strict=True):
            assert ours == {**theirs, "score": pytest.approx(theirs["score"], abs=2e-4)}

    def test_run_writes_the_maps_there_are(self, lite: Path) -> None:
        x = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype(np.float32)
        np.save("x.npy", x)
        options = ["--model", "RT_Lite", "--weights", "lite.npz", "--backend", "reference"]
        assert main(["run", *options, "--input", "x.npy", "--output", "y.npz"]) == 0
        with np.load("y.npz") as maps:
            assert set(maps) == {"confs3", "upscaled"}
            with use_backend("reference"):
                np.testing.assert_array_equal(maps["upscaled"], epcore.EfficientPoseLite("RT", seed=2)(x).upscaled)

    def test_weights(self, lite: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_release(Path("release.h5"), "I")
        assert main(["weights", "import", "release.h5", "--model", "I_Lite", "--output", "own.h5"]) == 0
        assert "248 arrays matched, 0 missing, 0 unused" in capsys.readouterr().out
        epcore.load_weights(epcore.EfficientPoseLite("I"), "own.h5")

    def test_no_weights(self, lite: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", "noise.png", "--model", "RT_Lite"]) == 2
        assert "no weights for EfficientPose RT_Lite: name a file with --weights FILE" in capsys.readouterr().err


@pytest.mark.parametrize("variant", ["RT", "I"])
class TestPublished:
    """The files themselves, where they are."""

    def test_agrees_with_tflite(self, variant: str, data_path: DataPath) -> None:
        """The authors' conversion of the same network, its weights rounded to half precision (half an ulp: 2**-11)."""
        model = epcore.EfficientPoseLite(variant)
        assert epcore.load_weights(model, data_path(f"release/EfficientPose{variant}_LITE.h5")).missing == []
        converted = data_path(f"release/EfficientPose{variant}_LITE.tflite")
        litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
        x, _ = preprocess(data_path("release/photo.jpg"), model.resolution, model.preprocessing)
        interpreter = litert.Interpreter(str(converted), num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        ours = model(x).upscaled
        # Rounding alone, at random over about 16 layers in a row, moves the maps by a few of 2**-11 of their largest value.
        assert np.abs(ours - theirs).max() <= 8 * 2**-11 * np.abs(theirs).max()

    def test_keypoints_of_the_photo(self, variant: str, data_path: DataPath) -> None:
        """Where the authors' larger network sees them: within a quarter of the head's size (PCKh@0.25 on one person)."""
        model = epcore.EfficientPoseLite(variant)
        epcore.load_weights(model, data_path(f"release/EfficientPose{variant}_LITE.h5"))
        pose = epcore.predict(data_path("release/photo.jpg"), model)
        with np.load(data_path("golden/EfficientPoseI.npz")) as golden:
            expected = golden["photo/coords"] * (pose.width, pose.height)
        head = np.linalg.norm(expected[0] - expected[1])
        assert np.linalg.norm(pose.points - expected, axis=1).max() <= 0.25 * head
        assert pose.scores.min() > 0.3
