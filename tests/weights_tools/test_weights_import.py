"""Every Keras layout into the networks, all or nothing, and our own formats out and back."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from tolerances import outputs_and_bounds

import epcore
from epcore.cli import main
from epcore.export.keras import export_keras
from epcore.export.weights import export_weights
from epcore.network import Network
from epcore.weights_tools.keras_h5 import read_keras_h5
from epcore.weights_tools.name_map import keras_layers, keras_name

DataPath = Callable[[str], Path]

FIXTURES = [
    "EfficientNetB0_blocks123_k3.weights.h5",
    "EfficientNetB0_blocks123_tfk.weights.h5",
    "EfficientNetB0_blocks123_tfk_weights.h5",
    "EfficientNetB0_blocks123_k3_fullmodel.h5",
    "EfficientNetB0_blocks123_tf211_fullmodel.h5",
    "qubvel_efficientnet-b0_blocks123_keras2.2.4_weights.h5",
]


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "not weights")
    return buffer.getvalue()


class TestEveryLayout:
    @pytest.mark.parametrize("name", FIXTURES)
    def test_gives_the_same_arrays(self, name: str, data_path: DataPath) -> None:
        reference, model = epcore.EfficientNet("B0", seed=1), epcore.EfficientNet("B0", seed=2)
        epcore.load_weights(reference, data_path(f"efficientnet/{FIXTURES[3]}"))
        manifest = epcore.load_weights(model, data_path(f"efficientnet/{name}"))
        assert len(manifest.matched) == len(model.parameters)
        assert manifest.missing == []
        assert all("normalization/" in unused for unused in manifest.unused)
        for key, array in reference.parameters.items():
            assert np.array_equal(model.parameters[key], array), key

    @pytest.mark.parametrize("name", FIXTURES)
    @pytest.mark.parametrize("size", [128, 127])
    def test_gives_the_golden_outputs(self, name: str, size: int, data_path: DataPath) -> None:
        model = epcore.EfficientNet("B0")
        epcore.load_weights(model, data_path(f"efficientnet/{name}"))
        with np.load(data_path("efficientnet/golden_B0.npz")) as golden:
            _, bounds = outputs_and_bounds(model, golden[f"{size}/x"])
            for number, block in enumerate(model.features(golden[f"{size}/x"]), start=1):
                expected = golden[f"{size}/block{number}"]
                assert np.abs(block - expected).max() <= 2 * bounds[f"block{number}"]  # both round

    def test_layer_order_does_not_matter_where_there_are_names(self, tmp_path: Path, data_path: DataPath) -> None:
        source = data_path(f"efficientnet/{FIXTURES[5]}")
        target = tmp_path / "shuffled.h5"
        target.write_bytes(source.read_bytes())
        with h5py.File(target, "r+") as file:
            file.attrs["layer_names"] = np.random.default_rng(0).permutation(file.attrs["layer_names"])
        straight, shuffled = epcore.EfficientNet("B0", seed=1), epcore.EfficientNet("B0", seed=2)
        epcore.load_weights(straight, source)
        epcore.load_weights(shuffled, target)
        assert all(np.array_equal(shuffled.parameters[key], array) for key, array in straight.parameters.items())

    def test_order_is_verified_by_shape_where_there_are_no_names(self, tmp_path: Path, data_path: DataPath) -> None:
        target = tmp_path / "swapped.weights.h5"
        target.write_bytes(data_path(f"efficientnet/{FIXTURES[1]}").read_bytes())
        with h5py.File(target, "r+") as file:
            file["layers"].move("conv2d_1", "other")
            file["layers"].move("conv2d_2", "conv2d_1")
            file["layers"].move("other", "conv2d_2")
        with pytest.raises(ValueError, match=r"block1a_se_reduce.*shape"):
            epcore.load_weights(epcore.EfficientNet("B0"), target)

    def test_split_attributes(self, tmp_path: Path) -> None:
        """Keras splits attributes beyond 64 KiB."""
        model = epcore.EfficientNet("B0", blocks=1)
        path = tmp_path / "split.h5"
        export_keras(model, path)
        with h5py.File(path, "r+") as file:
            names = file.attrs["layer_names"]
            del file.attrs["layer_names"]
            file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
        assert len(epcore.load_weights(epcore.EfficientNet("B0", blocks=1), path).matched) == len(model.parameters)

    def test_half_precision_and_later_blocks(self, tmp_path: Path) -> None:
        deep = epcore.EfficientNet("B0", blocks=5, seed=3)
        path = tmp_path / "deep.h5"
        export_keras(deep, path)
        with h5py.File(path, "r+") as file:
            half = file["stem_conv/stem_conv/kernel:0"][()].astype(np.float16)
            del file["stem_conv/stem_conv/kernel:0"]
            file["stem_conv/stem_conv/kernel:0"] = half
        model = epcore.EfficientNet("B0")
        manifest = epcore.load_weights(model, path)
        assert model.dtype == np.float32
        assert np.array_equal(model.parameters["stem_conv/kernel"], half.astype(np.float32))
        assert any("float16 to float32" in match.transformation for match in manifest.matched)
        assert any(unused.startswith("block5a") for unused in manifest.unused)

    @pytest.mark.parametrize("name", FIXTURES)
    def test_half_precision_in_every_layout(self, name: str, tmp_path: Path, data_path: DataPath) -> None:
        straight, half = epcore.EfficientNet("B0"), epcore.EfficientNet("B0", seed=1)
        path = tmp_path / name
        path.write_bytes(data_path(f"efficientnet/{name}").read_bytes())
        epcore.load_weights(straight, path)
        with h5py.File(path, "r+") as file:
            found: list[str] = []
            file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
            for key in found:
                array = file[key][()]
                del file[key]
                file[key] = array.astype(np.float16) if array.dtype == np.float32 else array
        manifest = epcore.load_weights(half, path)
        assert all("float16 to float32" in match.transformation for match in manifest.matched)
        for key, array in straight.parameters.items():
            assert half.parameters[key].dtype == np.float32
            assert np.array_equal(half.parameters[key], array.astype(np.float16).astype(np.float32)), key

    def test_noisy_student_with_its_top(self, tmp_path: Path) -> None:
        """All seven blocks, the last convolution and the classifier, in the layout of the `efficientnet` package."""
        whole = epcore.EfficientNet("B0", blocks=7, seed=3)
        path = tmp_path / "efficientnet-b0_noisy-student.h5"
        export_keras(whole, path)
        top = {
            "top_conv/kernel:0": (1, 1, 320, 1280),
            "top_bn/gamma:0": (1280,),
            "probs/kernel:0": (1280, 10),
            "probs/bias:0": (10,),
        }
        with h5py.File(path, "r+") as file:
            for name, shape in top.items():
                file.create_dataset(f"{name.partition('/')[0]}/{name}", data=np.ones(shape, np.float32))
            layers = list(dict.fromkeys(name.partition("/")[0] for name in top))
            for layer in layers:
                file[layer].attrs["weight_names"] = [name.encode() for name in top if name.startswith(layer)]
            file.attrs["layer_names"] = [*file.attrs["layer_names"], *(layer.encode() for layer in layers)]
        model, pose = epcore.EfficientNet("B0"), epcore.EfficientPose("RT", seed=5)
        manifest = epcore.load_weights(model, path)
        assert len(manifest.matched) == len(model.parameters) and manifest.missing == []
        assert {"top_conv/kernel", "top_bn/gamma", "probs/kernel", "probs/bias", "block7a_project_bn/beta"} <= set(
            manifest.unused
        )
        assert len(manifest.unused) == len(whole.parameters) - len(model.parameters) + 4
        epcore.load_weights(pose, path)
        for key, array in model.parameters.items():
            assert np.array_equal(array, whole.parameters[key])
            assert np.array_equal(array, pose.parameters[f"high.{key}"])

    def test_what_no_name_tells_apart_is_left_over_by_class_and_number(self, data_path: DataPath) -> None:
        """A tf_keras file of three blocks into a network of two."""
        model = epcore.EfficientNet("B0", blocks=2)
        manifest = epcore.load_weights(model, data_path(f"efficientnet/{FIXTURES[1]}"))
        assert len(manifest.matched) == len(model.parameters) and manifest.missing == []
        whole = len(epcore.EfficientNet("B0", blocks=3).parameters)
        assert len(manifest.unused) == whole - len(model.parameters) + 3
        assert {"normalization/mean", "depthwise_conv2d_3/kernel"} <= set(manifest.unused)


class TestPoseNetworks:
    @pytest.mark.parametrize("variant", ["RT", "I"])
    def test_release(self, variant: str, data_path: DataPath) -> None:
        model = epcore.EfficientPose(variant)
        manifest = epcore.load_weights(model, data_path(f"release/EfficientPose{variant}.h5"))
        assert len(manifest.matched) == len(model.parameters)
        assert manifest.missing == manifest.unused == []
        depthwise = next(match for match in manifest.matched if match.target == "high.block1a.dwconv/kernel")
        assert depthwise.source == "block1a_dwconv_res1/kernel"
        assert depthwise.transformation == "last axis dropped"
        assert len(depthwise.sha256) == 64

    def test_two_backbones_into_one_pose_network(self, tmp_path: Path) -> None:
        high, low = epcore.EfficientNet("B2", seed=5), epcore.EfficientNet("B0", seed=6)
        export_keras(high, tmp_path / "high.h5")
        export_keras(low, tmp_path / "low.h5")
        model = epcore.EfficientPose("I", seed=7)
        before = {name: array.copy() for name, array in model.parameters.items()}
        manifest = epcore.load_weights(model, tmp_path / "high.h5", low=tmp_path / "low.h5")
        assert manifest.missing == []
        assert manifest.unused and all(re.match(r"block3.* in .*low\.h5", name) for name in manifest.unused)
        assert (manifest.path, manifest.low.path) == (str(tmp_path / "high.h5"), str(tmp_path / "low.h5"))
        files = {match.target.partition(".")[0]: match.file for match in manifest.matched}
        assert files == {"high": manifest.path, "low": manifest.low.path}
        assert manifest.kept == [name for name in model.parameters if name.startswith(("pass", "upscale"))]
        assert manifest.to_json()["low"]["sha256"] == hashlib.sha256((tmp_path / "low.h5").read_bytes()).hexdigest()
        for name, array in model.parameters.items():
            branch, _, rest = name.partition(".")
            expected = {"high": high.parameters, "low": low.parameters}.get(branch, {}).get(rest, before[name])
            assert np.array_equal(array, expected), name

    def test_backbone_without_names_into_a_pose_network(self, data_path: DataPath) -> None:
        """RT has B0 as its only branch."""
        model, backbone = epcore.EfficientPose("RT"), epcore.EfficientNet("B0")
        path = data_path(f"efficientnet/{FIXTURES[1]}")
        epcore.load_weights(model, path)
        epcore.load_weights(backbone, path)
        assert all(np.array_equal(model.parameters[f"high.{name}"], array) for name, array in backbone.parameters.items())

    @pytest.mark.parametrize("suffix", [".h5", ".npz"])
    def test_our_own_files_of_backbones(self, suffix: str, tmp_path: Path) -> None:
        high, low = epcore.EfficientNet("B2", blocks=4, seed=5), epcore.EfficientNet("B0", seed=6)
        export_weights(high, tmp_path / f"high{suffix}")
        export_weights(low, tmp_path / f"low{suffix}")
        model = epcore.EfficientPose("I", seed=7)
        manifest = epcore.load_weights(model, tmp_path / f"high{suffix}", low=tmp_path / f"low{suffix}")
        assert any(name.startswith("block4a") for name in manifest.unused)
        for name, array in model.parameters.items():
            branch, _, rest = name.partition(".")
            if branch in ("high", "low"):
                assert np.array_equal(array, (high if branch == "high" else low).parameters[rest]), name

    @pytest.mark.parametrize("model", [epcore.EfficientPose("RT"), epcore.EfficientPoseLite("I"), epcore.EfficientNet("B0")])
    def test_a_second_file_without_a_second_branch(self, model: Network, tmp_path: Path) -> None:
        export_keras(epcore.EfficientNet("B0"), tmp_path / "b0.h5")
        with pytest.raises(ValueError, match=rf"low is .*b0\.h5, but {model.name} has no low-resolution branch"):
            epcore.load_weights(model, tmp_path / "b0.h5", low=tmp_path / "b0.h5")

    def test_the_file_at_fault_is_named(self, tmp_path: Path) -> None:
        export_keras(epcore.EfficientNet("B2"), tmp_path / "high.h5")
        export_keras(epcore.EfficientNet("B0", blocks=1), tmp_path / "low.h5")
        message = r"low\.h5 does not hold .* low\.block2a\.expand_conv/kernel \(there it would be block2a_expand_conv/kernel\)"
        with pytest.raises(ValueError, match=message):
            epcore.load_weights(epcore.EfficientPose("I"), tmp_path / "high.h5", low=tmp_path / "low.h5")

    def test_every_parameter_has_its_own_keras_name(self) -> None:
        for variant in ("RT", "I", "II", "III", "IV"):
            names = [keras_name(name) for name in epcore.EfficientPose(variant).parameters]
            assert len(set(names)) == len(names)

    def test_keras_layers_lists_every_layer_with_weights(self) -> None:
        graph = epcore.EfficientPose("I").graph
        assert [name for _, name in keras_layers(graph)] == list(dict.fromkeys(p.partition("/")[0] for p in graph.parameters))


class TestWrongFiles:
    """One clear error, and the model is as it was."""

    def refused(self, path: Path, message: str, model: epcore.EfficientPose | None = None) -> None:
        model = model or epcore.EfficientPose("RT")
        before = {name: array.copy() for name, array in model.parameters.items()}
        with pytest.raises(ValueError, match=message):
            epcore.load_weights(model, path)
        assert all(np.array_equal(model.parameters[name], array) for name, array in before.items())

    def test_another_variant(self, tmp_path: Path) -> None:
        export_keras(epcore.EfficientPose("RT"), tmp_path / "rt.h5")
        self.refused(tmp_path / "rt.h5", "does not hold weights of EfficientPose I:", epcore.EfficientPose("I"))

    def test_another_backbone(self, tmp_path: Path) -> None:
        export_keras(epcore.EfficientNet("B4"), tmp_path / "b4.h5")
        self.refused(tmp_path / "b4.h5", r"stem_conv/kernel has shape \(3, 3, 3, 48\), expected \(3, 3, 3, 32\)")

    def test_something_else_in_hdf5(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["temperature"] = np.arange(5.0)
        self.refused(tmp_path / "other.h5", "holds no Keras layers")

    def test_nan(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT")
        model.parameters["pass2.confs/bias"] = np.full(16, np.nan, np.float32)
        export_keras(model, tmp_path / "nan.h5")
        self.refused(tmp_path / "nan.h5", "pass2_detection1_confs/bias has 16 values that are NaN")

    def test_infinity(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT")
        model.parameters["pass1.pafs/bias"] = np.full(28, np.inf, np.float32)
        export_weights(model, tmp_path / "inf.npz")
        self.refused(tmp_path / "inf.npz", "pass1.pafs/bias has 28 values that are NaN or infinite")

    def test_integers(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT")
        export_keras(model, tmp_path / "int.h5")
        with h5py.File(tmp_path / "int.h5", "r+") as file:
            del file["stem_bn_res1/stem_bn_res1/gamma:0"]
            file["stem_bn_res1/stem_bn_res1/gamma:0"] = np.ones(32, np.int32)
        self.refused(tmp_path / "int.h5", "stem_bn_res1/gamma has dtype int32")

    def test_missing_array_unless_not_strict(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT", seed=4)
        export_keras(model, tmp_path / "missing.h5")
        with h5py.File(tmp_path / "missing.h5", "r+") as file:
            file["pass1_skeleton_pafs"].attrs["weight_names"] = [b"pass1_skeleton_pafs/kernel:0"]
        self.refused(tmp_path / "missing.h5", "the first is pass1.pafs/bias")
        manifest = epcore.load_weights(epcore.EfficientPose("RT"), tmp_path / "missing.h5", strict=False)
        assert manifest.missing == ["pass1.pafs/bias"]

    def test_pickle(self, tmp_path: Path) -> None:
        (tmp_path / "model.h5").write_bytes(pickle.dumps({"a": 1}))
        self.refused(tmp_path / "model.h5", "pickle, which could run code")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\x1c\x00\x00\x00TFL3" + bytes(40), "is a TensorFlow Lite model"),
            (zipped("archive/data.pkl"), "pickle, which could run code"),
            (zipped("config.json"), r"is an archive without model\.weights\.h5"),
            (zipped("model.weights.h5"), "is not an HDF5 file"),
            (zipped("model.weights.h5")[:-30], "is damaged"),
        ],
    )
    def test_other_formats(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "model.bin").write_bytes(content)
        self.refused(tmp_path / "model.bin", message)

    def test_beyond_single_precision(self, tmp_path: Path) -> None:
        model = epcore.EfficientNet("B0").astype(np.float64)
        model.parameters["stem_bn/gamma"][2] = 1e40
        export_weights(model, tmp_path / "double.h5", dtype="float64")
        with pytest.raises(ValueError, match="stem_bn/gamma holds values that float32 cannot"):
            epcore.load_weights(epcore.EfficientNet("B0"), tmp_path / "double.h5")

    def test_text(self, tmp_path: Path) -> None:
        (tmp_path / "model.h5").write_text("not weights")
        self.refused(tmp_path / "model.h5", "not an HDF5 file")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "model.h5").write_bytes(b"")
        self.refused(tmp_path / "model.h5", "not an HDF5 file")

    def test_no_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nothing\.h5"):
            epcore.load_weights(epcore.EfficientPose("RT"), tmp_path / "nothing.h5")
        with pytest.raises(IsADirectoryError):
            epcore.load_weights(epcore.EfficientPose("RT"), tmp_path)


class TestOwnFormats:
    @pytest.mark.parametrize("suffix", [".h5", ".npz", ".safetensors"])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
    def test_round_trip(self, suffix: str, dtype: str, tmp_path: Path) -> None:
        if suffix == ".safetensors":
            pytest.importorskip("safetensors", reason="safetensors is not installed")
        model, back = epcore.EfficientPose("I", seed=1), epcore.EfficientPose("I", seed=2)
        if dtype == "float64":
            model.astype(np.float64)
            back.astype(np.float64)
        path = tmp_path / f"weights{suffix}"
        export_weights(model, path, dtype=dtype)
        manifest = epcore.load_weights(back, path)
        assert manifest.layout.startswith("epcore weights 1 of EfficientPose I")
        assert manifest.missing == manifest.unused == []
        for name, array in model.parameters.items():
            assert back.parameters[name].tobytes() == array.astype(dtype).astype(model.dtype).tobytes(), name

    def test_export_is_reproducible(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT")
        for name in ("a.h5", "b.h5"):
            export_weights(model, tmp_path / name)
        assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

    def test_permuted_for_others(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT")
        export_weights(model, tmp_path / "w.npz", layout="NCHW")
        with np.load(tmp_path / "w.npz") as file:
            assert file["high.stem_conv/kernel"].shape == (32, 3, 3, 3)
            assert file["high.block1a.dwconv/kernel"].shape == (32, 1, 3, 3)
            assert file["upscale1/kernel"].shape == (16, 16, 4, 4)
            assert file["pass1.pafs/kernel"][5, 7, 0, 0] == model.parameters["pass1.pafs/kernel"][0, 0, 7, 5]
        with pytest.raises(ValueError, match="NCHW"):
            epcore.load_weights(model, tmp_path / "w.npz")

    def test_keras_layout_comes_back(self, tmp_path: Path) -> None:
        model, back = epcore.EfficientPose("II", seed=1), epcore.EfficientPose("II", seed=2)
        export_keras(model, tmp_path / "keras.h5")
        epcore.load_weights(back, tmp_path / "keras.h5")
        assert all(np.array_equal(back.parameters[name], array) for name, array in model.parameters.items())

    @pytest.mark.parametrize("name", ["w.weights.h5", "w.npz", "w"])
    def test_keras_layout_goes_where_keras_looks_for_it(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=f"cannot write Keras 2 weights to .*{name}"):
            export_keras(epcore.EfficientNet("B0"), tmp_path / name)
        assert os.listdir(tmp_path) == []

    def test_unknown_format(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "new.h5", "w") as file:
            file.attrs["epcore_format"] = "epcore weights 99"
        with pytest.raises(ValueError, match="'epcore weights 99', expected 'epcore weights 1'"):
            epcore.load_weights(epcore.EfficientPose("RT"), tmp_path / "new.h5")

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [("w.txt", {}, "ending in"), ("w.h5", {"dtype": "int8"}, "int8"), ("w.h5", {"layout": "CHWN"}, "CHWN")],
    )
    def test_refused(self, name: str, options: dict[str, str], message: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=message):
            export_weights(epcore.EfficientPose("RT"), tmp_path / name, **options)
        assert not (tmp_path / name).exists()

    def test_half_precision_overflow_is_named(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT")
        model.parameters["pass1.pafs/bias"][3] = 1e6
        with pytest.raises(ValueError, match=r"pass1\.pafs/bias holds values that float16 cannot"):
            export_weights(model, tmp_path / "w.h5", dtype="float16")


class TestRealKeras:
    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' torch backend and NumPy 2
    def test_reads_our_export(self, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
        """The backbone built with Keras' own layers from our graph, weights read by name from our file."""
        pytest.importorskip("torch", reason="Keras needs a backend")
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        keras = pytest.importorskip("keras", reason="Keras is not installed")
        from epcore.export.keras import export_keras

        model = epcore.EfficientNet("B0")
        export_keras(model, tmp_path / "b0.h5")
        twin = keras_twin(keras, model)
        twin.load_weights(tmp_path / "b0.h5", by_name=True)
        x = rng.normal(size=(1, 63, 63, 3)).astype(np.float32)
        _, bounds = outputs_and_bounds(model, x)
        for label, ours, theirs in zip(bounds, model.features(x), twin.predict(x, verbose=0), strict=True):
            assert np.abs(ours - theirs).max() <= 2 * bounds[label]  # both round

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
    @pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.weights.h5", "nameless.weights.h5"])
    def test_we_read_what_it_writes(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Four blocks and a classifier, in every layout of Keras 3, into three blocks."""
        pytest.importorskip("torch", reason="Keras needs a backend")
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        keras = pytest.importorskip("keras", reason="Keras is not installed")

        model, deep = epcore.EfficientNet("B0", seed=1), epcore.EfficientNet("B0", blocks=4, seed=2)
        twin = keras_twin(keras, deep)
        y = keras.layers.GlobalAveragePooling2D()(twin.outputs[-1])
        whole = keras.Model(twin.inputs, keras.layers.Dense(10, name="predictions")(y))
        export_keras(deep, tmp_path / "deep.h5")
        whole.load_weights(tmp_path / "deep.h5", by_name=True)
        path = tmp_path / name
        (whole.save_weights if name.endswith("weights.h5") else whole.save)(path)
        if name.startswith("nameless"):  # as tf_keras writes it
            with h5py.File(path, "r+") as file:
                for group in file["layers"].values():
                    group["vars"].attrs.pop("name", None)
        manifest = epcore.load_weights(model, path)
        assert (
            manifest.layout
            == {
                "model.keras": "Keras 3 weights",
                "model.h5": "Keras full model",
                "model.weights.h5": "Keras 3 weights",
                "nameless.weights.h5": "Keras 3 weights without layer names",
            }[name]
        )
        assert len(manifest.unused) == len(deep.parameters) - len(model.parameters) + 2
        for key, array in model.parameters.items():
            assert np.array_equal(array, deep.parameters[key]), key


def keras_twin(keras: object, model: epcore.EfficientNet) -> object:
    """An EfficientNet backbone as a functional Keras model with the layer names that Keras users know."""
    layers = keras.layers  # type: ignore[attr-defined]
    values = {"input": keras.Input((None, None, 3))}  # type: ignore[attr-defined]
    for node in model.graph.nodes.values():
        a, name = values[node.inputs[0]], node.name.replace(".", "_")
        match node.op:
            case "conv2d":
                shape = model.graph.parameters[node.parameters[0]].shape  # type: ignore[index]
                stride = node.attributes["stride"]
                y = layers.Conv2D(shape[3], shape[0], stride, padding="same", use_bias=False, name=name)(a)
            case "depthwise_conv2d":
                size = model.graph.parameters[node.parameters[0]].shape[0]  # type: ignore[index]
                y = layers.DepthwiseConv2D(size, node.attributes["stride"], padding="same", use_bias=False, name=name)(a)
            case "batch_norm":
                y = layers.BatchNormalization(epsilon=1e-3, name=name)(a)
            case "swish":
                y = layers.Activation("swish")(a)
            case "squeeze_excite":
                reduced, channels = (model.graph.parameters[node.parameters[i]].shape[0] for i in (1, 3))  # type: ignore[index]
                hidden = layers.GlobalAveragePooling2D(keepdims=True)(a)
                hidden = layers.Conv2D(reduced, 1, activation="swish", name=f"{name}_reduce")(hidden)
                y = layers.Multiply()([a, layers.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_expand")(hidden)])
            case "add":
                y = layers.Add()([a, values[node.inputs[1]]])
            case "drop_connect":
                y = a
            case _:
                raise AssertionError(node.op)
        values[node.name] = y
    return keras.Model(values["input"], [values[name] for name in model.graph.outputs.values()])  # type: ignore[attr-defined]


class TestCommand:
    def test_inspect(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export_keras(epcore.EfficientNet("B0", blocks=1), tmp_path / "w.h5")
        assert main(["weights", "inspect", str(tmp_path / "w.h5")]) == 0
        out = capsys.readouterr().out
        assert "Keras 2 weights" in out
        assert "block1a_dwconv/kernel" in out
        assert main(["weights", "inspect", str(tmp_path / "w.h5"), "--json", "-"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["arrays"][0] == {**report["arrays"][0], "name": "stem_conv/kernel", "shape": [3, 3, 3, 32]}

    def test_import_and_export(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export_keras(epcore.EfficientPose("RT", seed=9), tmp_path / "w.h5")
        own, manifest = tmp_path / "own.h5", tmp_path / "m.json"
        assert main(["weights", "import", str(tmp_path / "w.h5"), "--output", str(own), "--manifest", str(manifest)]) == 0
        assert len(json.loads(manifest.read_text())["matched"]) == len(epcore.EfficientPose("RT").parameters)
        assert main(["weights", "export", str(own), "--output", str(tmp_path / "k.h5"), "--keras"]) == 0
        assert read_keras_h5(tmp_path / "k.h5").layout == "Keras 2 weights"
        assert "wrote" in capsys.readouterr().out

    def test_strict_and_its_opposite(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export_keras(epcore.EfficientNet("B0", blocks=2), tmp_path / "short.h5")
        arguments = ["weights", "import", str(tmp_path / "short.h5"), "--model", "B0", "--output", str(tmp_path / "own.h5")]
        for strict in ([], ["--strict"]):
            assert main([*arguments, *strict]) == 2
            assert "the first is block3a.expand_conv/kernel" in capsys.readouterr().err
            assert not (tmp_path / "own.h5").exists()
        assert main([*arguments, "--no-strict"]) == 0
        assert "missing block3b.project_bn/moving_variance" in capsys.readouterr().out

    def test_two_backbones(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export_keras(epcore.EfficientNet("B2", seed=1), tmp_path / "b2.h5")
        export_keras(epcore.EfficientNet("B0", seed=2), tmp_path / "b0.h5")
        high, low, own = (str(tmp_path / name) for name in ("b2.h5", "b0.h5", "own.npz"))
        assert main(["weights", "import", high, "--low", low, "--model", "I", "--output", own, "--manifest", "-"]) == 0
        manifest = json.loads(capsys.readouterr().out)
        assert {match["file"] for match in manifest["matched"]} == {high, low}
        assert all(match["sha256"] and match["shape"] and match["source"] for match in manifest["matched"])
        assert main(["weights", "import", high, "--low", low, "--model", "I", "--output", own]) == 0
        assert f"{len(manifest['kept'])} arrays of EfficientPose I are not of a backbone" in capsys.readouterr().out

    @pytest.mark.parametrize("option", [["--layout", "NCHW"], ["--dtype", "float16"]])
    def test_keras_takes_one_form(self, option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export_weights(epcore.EfficientNet("B0"), tmp_path / "w.h5")
        output = tmp_path / "k.h5"
        assert (
            main(["weights", "export", str(tmp_path / "w.h5"), "--model", "B0", "--output", str(output), "--keras", *option])
            == 2
        )
        assert "--keras writes NHWC and float32" in capsys.readouterr().err
        assert not output.exists()

    def test_permuted_halves(self, tmp_path: Path) -> None:
        model = epcore.EfficientPose("RT", seed=9)
        export_weights(model, tmp_path / "w.h5")
        arguments = ["--output", str(tmp_path / "n.npz"), "--layout", "NCHW", "--dtype", "float16"]
        assert main(["weights", "export", str(tmp_path / "w.h5"), *arguments]) == 0
        with np.load(tmp_path / "n.npz") as file:
            for name, axes in (
                ("high.stem_conv/kernel", (3, 2, 0, 1)),
                ("high.block1a.se_reduce/kernel", (3, 2, 0, 1)),
                ("upscale1/kernel", (3, 2, 0, 1)),
            ):
                assert np.array_equal(file[name], model.parameters[name].transpose(axes).astype(np.float16))
            depthwise = model.parameters["pass1.block1.mbconv1.dwconv/kernel"]
            expected = depthwise.transpose(2, 0, 1)[:, None].astype(np.float16)
            assert np.array_equal(file["pass1.block1.mbconv1.dwconv/kernel"], expected)

    @pytest.mark.parametrize("arguments", [["inspect", "nothing.h5"], ["import", "nothing.h5", "--output", "x.h5"]])
    def test_errors_are_one_line(
        self,
        arguments: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["weights", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("epcore: error:")
        assert error.count("\n") == 1
        assert os.listdir(tmp_path) == []
