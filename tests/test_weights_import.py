"""Every Keras layout into the networks, all or nothing, and our own formats out and back."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import epcore
from epcore.cli import main
from epcore.weights_tools.formats import export_weights
from epcore.weights_tools.keras_export import export_keras
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
            for number, block in enumerate(model.features(golden[f"{size}/x"]), start=1):
                expected = golden[f"{size}/block{number}"]
                assert np.abs(block - expected).max() <= 1e-4 * np.abs(expected).max()

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
        from epcore.weights_tools.keras_export import export_keras

        model = epcore.EfficientNet("B0")
        export_keras(model, tmp_path / "b0.h5")
        twin = keras_twin(keras, model)
        twin.load_weights(tmp_path / "b0.h5", by_name=True)
        x = rng.normal(size=(1, 63, 63, 3)).astype(np.float32)
        for ours, theirs in zip(model.features(x), twin.predict(x, verbose=0), strict=True):
            assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(ours).max()


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
