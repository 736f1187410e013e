"""Backbones within other models: found at any depth and under changed names, and nothing of the file lost."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras_files import describe, layers_of, raw_arrays, write_keras2, write_keras3

import epcore
from epcore.cli import main
from epcore.export.keras import export_keras
from epcore.weights_tools.load import read_weights

DataPath = Callable[[str], Path]

SOURCE = epcore.EfficientNet("B0", seed=11)
for _name, _array in SOURCE.parameters.items():  # no two arrays alike, so that none can stand for another
    _array += np.random.default_rng(len(_name)).normal(size=_array.shape).astype(np.float32) * 1e-3

FIXTURES = (
    "EfficientNetB0_blocks123_k3.weights.h5",
    "EfficientNetB0_blocks123_k3_fullmodel.h5",
    "EfficientNetB0_blocks123_nested_weights.h5",
    "EfficientNetB0_blocks123_tf211_fullmodel.h5",
    "EfficientNetB0_blocks123_tfk.weights.h5",
    "EfficientNetB0_blocks123_tfk_weights.h5",
    "qubvel_efficientnet-b0_blocks123_keras2.2.4_weights.h5",
)


def loaded(path: Path, expected: epcore.EfficientNet = SOURCE) -> dict[str, int]:
    """Load and compare every array; how they were found -> how many."""
    model = epcore.EfficientNet("B0", seed=1)
    manifest = epcore.load_weights(model, path)
    for name, array in expected.parameters.items():
        assert np.array_equal(model.parameters[name], array), name
    assert len(manifest.matched) == len(model.parameters) == 95
    accounted = [match.source for match in manifest.matched] + manifest.unused
    assert len(accounted) == len(set(accounted)) == len(raw_arrays(path)) - len(manifest.unread)
    return dict(Counter(match.found for match in manifest.matched))


class TestWhatNamesTell:
    def test_the_nested_fixture(self, data_path: DataPath) -> None:
        flat = epcore.EfficientNet("B0")
        epcore.load_weights(flat, data_path("efficientnet/EfficientNetB0_blocks123_k3.weights.h5"))
        nested = data_path("efficientnet/EfficientNetB0_blocks123_nested_weights.h5")
        assert loaded(nested, flat) == {"by name below efficientnet-b0/": 95}

    @pytest.mark.parametrize("layout", ["keras2.h5", "keras3.weights.h5", "keras3.keras", "nameless.weights.h5", "full.h5"])
    def test_the_b0_fixtures_nested(self, layout: str, tmp_path: Path, data_path: DataPath) -> None:
        flat = epcore.EfficientNet("B0")
        epcore.load_weights(flat, data_path("efficientnet/EfficientNetB0_blocks123_k3.weights.h5"))
        path = tmp_path / layout
        if layout in ("keras2.h5", "full.h5"):
            write_keras2(path, flat, full_model=layout == "full.h5")
        else:
            write_keras3(path, flat, named=not layout.startswith("nameless"))
        how = {
            "keras2.h5": "by name below efficientnet-b0/",
            "full.h5": "by name below efficientnet-b0/",
            "nameless.weights.h5": "by order and shape",
        }
        assert loaded(path, flat) == {how.get(layout, "by name below efficientnetb0/"): 95}

    @pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
    @pytest.mark.parametrize(
        ("within", "prefix"),
        [
            ([("sequential", "sequential_3"), ("functional", "efficientnetb0")], "sequential_3/efficientnetb0/"),
            ([("time_distributed", "per_frame"), ("layer", "efficientnetb0")], "per_frame/efficientnetb0/"),
            ([(f"functional_{i}", f"outer{i}") for i in range(4)], "outer0/outer1/outer2/outer3/"),
        ],
    )
    def test_sub_models_at_any_depth(self, within: list[tuple[str, str]], prefix: str, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"deep{suffix}"
        write_keras3(path, SOURCE, within=within)
        assert loaded(path) == {f"by name below {prefix}": 95}
        write_keras3(path, SOURCE, within=within, named=False)
        assert loaded(path) == {"by order and shape": 95}

    @pytest.mark.parametrize(
        ("called", "how"),
        [
            (lambda name: f"{name}_1", "by name below efficientnet-b0/, counter _1"),
            (lambda name: f"efficientnet-b0/{name}", "by name below efficientnet-b0/efficientnet-b0/"),
            (lambda name: f"backbone_{name}", "by name below efficientnet-b0/backbone_"),
            (lambda name: f"backbone.{name}_12", "by name below efficientnet-b0/backbone., counter _12"),
        ],
    )
    def test_prefixes_and_counters(self, called: Callable[[str], str], how: str, tmp_path: Path) -> None:
        write_keras2(tmp_path / "w.h5", SOURCE, called=called)
        assert loaded(tmp_path / "w.h5") == {how: 95}
        write_keras3(tmp_path / "w.keras", SOURCE, within=[("functional", "efficientnet-b0")], called=called)
        assert loaded(tmp_path / "w.keras") == {how: 95}

    def test_each_layer_its_own_counter(self, tmp_path: Path) -> None:
        write_keras2(tmp_path / "w.h5", SOURCE, called=lambda name: f"{name}_{len(name)}")
        assert sum(loaded(tmp_path / "w.h5").values()) == 95

    def test_into_a_branch_of_a_pose_network(self, tmp_path: Path) -> None:
        write_keras3(tmp_path / "w.keras", SOURCE)
        model = epcore.EfficientPose("RT", seed=2)
        manifest = epcore.load_weights(model, tmp_path / "w.keras")
        assert len(manifest.matched) == 95 and manifest.missing == []
        assert all(np.array_equal(model.parameters[f"high.{name}"], array) for name, array in SOURCE.parameters.items())

    def test_a_pose_network_below_a_prefix(self, tmp_path: Path) -> None:
        """Whoever wraps the authors' model has it below a name of his own."""
        source, model = epcore.EfficientPose("RT", seed=3), epcore.EfficientPose("RT", seed=4)
        export_keras(source, tmp_path / "flat.h5")
        with h5py.File(tmp_path / "flat.h5", "r+") as file:
            names = [name.decode() for name in file.attrs["layer_names"]]
            for name in names:
                file.move(name, f"mine_{name}")
            file.attrs["layer_names"] = [f"mine_{name}".encode() for name in names]
        manifest = epcore.load_weights(model, tmp_path / "flat.h5")
        assert {match.found for match in manifest.matched} == {"by name below mine_"}
        assert all(np.array_equal(model.parameters[name], array) for name, array in source.parameters.items())


class TestWhatOrderTells:
    def test_names_that_say_nothing(self, tmp_path: Path) -> None:
        counts: Counter[str] = Counter()

        def called(name: str) -> str:
            kind = "batch_normalization" if name.endswith("bn") else "depthwise_conv2d" if name.endswith("dwconv") else "conv2d"
            counts[kind] += 1
            return f"{kind}_{counts[kind] + 20}"

        cached = {name: called(name) for _, name, _ in layers_of(SOURCE)}
        write_keras2(tmp_path / "w.h5", SOURCE, called=cached.__getitem__)
        assert loaded(tmp_path / "w.h5") == {"by order and shape": 95}

    def test_a_layer_before_the_backbone(self, tmp_path: Path) -> None:
        """One picture channel made three by a convolution, all in one model: the run starts at the second."""
        path = tmp_path / "w.weights.h5"
        write_keras3(path, SOURCE, within=[], named=False)
        with h5py.File(path, "r+") as file:
            layers = file["layers"]
            numbers = sorted((int(name.rpartition("_")[2]) if name[-1].isdigit() and name != "conv2d" else 0)
                             for name in layers if name.startswith("conv2d"))  # fmt: skip
            for number in reversed(numbers):
                layers.move(f"conv2d_{number}" if number else "conv2d", f"conv2d_{number + 1}")
            describe(file, "/layers/conv2d", "", False, [np.ones((1, 1, 1, 3), np.float32)])
        assert loaded(path) == {"by order and shape": 95}

    def test_a_renamed_stem(self, tmp_path: Path) -> None:
        write_keras3(tmp_path / "w.keras", SOURCE, called=lambda name: "entry" if name == "stem_conv" else name)
        assert loaded(tmp_path / "w.keras") == {"by order and shape": 95}

    def test_order_does_not_contradict_names(self, tmp_path: Path) -> None:
        """Two batch norms of one shape exchanged, and a name lost: shapes alone would take the wrong one."""
        other = {"block1a_bn": "stem_bn", "stem_bn": "block1a_bn", "stem_conv": "entry"}
        write_keras3(tmp_path / "w.keras", SOURCE, called=lambda name: other.get(name, name))
        with pytest.raises(ValueError, match="1 arrays are missing, the first is stem_conv/kernel"):
            epcore.load_weights(epcore.EfficientNet("B0"), tmp_path / "w.keras")


class TestWhatIsRefused:
    @pytest.mark.parametrize("named", [True, False])
    def test_a_stem_of_one_channel(self, named: bool, tmp_path: Path) -> None:
        write_keras3(tmp_path / "w.weights.h5", SOURCE, named=named)
        with h5py.File(tmp_path / "w.weights.h5", "r+") as file:
            variables = file["layers/functional/layers/conv2d/vars"]
            kernel = variables["0"][()].sum(axis=2, keepdims=True)
            del variables["0"]
            variables["0"] = kernel
        model = epcore.EfficientNet("B0")
        with pytest.raises(
            ValueError, match=r"\(3, 3, 1, 32\).*trained on pictures of 1 channel \(greyscale\).*takes 3 \(RGB\)"
        ):
            epcore.load_weights(model, tmp_path / "w.weights.h5")

    def test_two_networks_that_fit(self, tmp_path: Path) -> None:
        path = tmp_path / "w.weights.h5"
        write_keras3(path, SOURCE, within=[("functional", "left")])
        with h5py.File(path, "r+") as file:
            file.copy("layers/functional", file["layers"], "functional_1")
            file["layers/functional_1/vars"].attrs["name"] = "right"
        loaded(path)  # the same numbers twice
        with h5py.File(path, "r+") as file:
            file["layers/functional_1/layers/conv2d/vars/0"][0] = 0
        with pytest.raises(ValueError, match=r"several networks that fit.*left/stem_conv.*right/stem_conv"):
            epcore.load_weights(epcore.EfficientNet("B0"), path)

    def test_batch_norms_without_scale(self, tmp_path: Path) -> None:
        """Three numbered arrays: which is missing cannot be told, so none is taken for another."""
        path = tmp_path / "w.weights.h5"
        write_keras3(path, SOURCE)
        with h5py.File(path, "r+") as file:
            del file["layers/functional/layers/batch_normalization/vars/3"]
        with pytest.raises(ValueError, match="4 arrays are missing, the first is stem_bn/gamma"):
            epcore.load_weights(epcore.EfficientNet("B0"), path)
        assert ("efficientnetb0/stem_bn", "2") in read_weights(path).arrays

    def test_endless_names_do_not_delay(self, tmp_path: Path) -> None:
        path = tmp_path / "w.h5"
        write_keras2(path, SOURCE)
        with h5py.File(path, "r+") as file:
            long = "_" * 60_000 + "stem_conv"
            file.attrs["layer_names0"], file.attrs["layer_names1"] = file.attrs["layer_names"], [long.encode()]
            del file.attrs["layer_names"]
            file.create_group(long).attrs["weight_names"] = [b"a:0"]
            file[long]["a:0"] = np.zeros(1, np.float32)
        loaded(path)


class TestNothingIsLost:
    @staticmethod
    def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
        assert main(["weights", "inspect", str(path), "--json", "-"]) == 0
        report = json.loads(capsys.readouterr().out)
        return [row["sha256"] for row in report["arrays"]]

    @pytest.mark.parametrize("name", FIXTURES)
    def test_inspect_shows_every_array(self, name: str, data_path: DataPath, capsys: pytest.CaptureFixture[str]) -> None:
        self.compare(data_path(f"efficientnet/{name}"), capsys)

    def compare(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from epcore.weights_tools.manifest import digest

        assert Counter(self.shown(path, capsys)) == Counter(digest(array) for array in raw_arrays(path).values())

    @pytest.mark.parametrize("name", ["EfficientPoseRT.h5", "EfficientPoseRT_LITE.h5"])
    def test_of_the_release(self, name: str, data_path: DataPath, capsys: pytest.CaptureFixture[str]) -> None:
        self.compare(data_path(f"release/{name}"), capsys)

    @pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
    def test_of_what_lies_beside_the_layers(self, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / f"w{suffix}"
        if suffix == ".h5":
            write_keras2(path, SOURCE, full_model=True)
        else:
            write_keras3(path, SOURCE)
        if suffix != ".keras":
            with h5py.File(path, "r+") as file:
                file["optimizer/vars/0"] = np.arange(3.0)
                file["optimizer_weights/adam/stem_conv/kernel:0"] = np.arange(4.0)
                file["layers/odd/states/vars/7"] = np.arange(5)
                file["stray"] = np.arange(6, dtype=np.float16)
                file["twice"] = file["stray"]  # one array under two names
        self.compare(path, capsys)
        loaded(path)

    def test_what_cannot_be_read_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "w.weights.h5"
        write_keras3(path, SOURCE)
        with h5py.File(path, "r+") as file:
            file["notes"] = "fine-tuned on Tuesday"
            file["elsewhere"] = h5py.ExternalLink("/etc/secret.h5", "x")
            file["loop"] = h5py.SoftLink("/loop")
            file["layers/itself"] = file["layers"]
        assert main(["weights", "inspect", str(path)]) == 0
        text = capsys.readouterr().out
        assert "not read: /notes is not an array of numbers" in text
        assert "not read: /elsewhere is a link to elsewhere, which is not followed" in text
        assert "not read: /loop is a link" in text
        manifest = epcore.load_weights(epcore.EfficientNet("B0"), path)
        assert len(manifest.unread) == 3 and "not read: /notes" in str(manifest)

    def test_groups_without_end(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            place = file.create_group("layers")
            for _ in range(40):
                place = place.create_group("a")
        (tmp_path / "w.weights.h5").write_bytes(buffer.getvalue())
        with pytest.raises(ValueError, match="nests more than 32 groups"):
            read_weights(tmp_path / "w.weights.h5")

    def test_the_text_says_how(self, tmp_path: Path) -> None:
        write_keras2(tmp_path / "w.h5", SOURCE)
        text = str(epcore.load_weights(epcore.EfficientNet("B0"), tmp_path / "w.h5"))
        assert (
            "95 arrays matched, 0 missing, 2 unused\n  95 found by name below efficientnet-b0/\n  unused dense/kernel" in text
        )


class TestRealKeras:
    """EfficientNetB0 of keras.applications as one layer of a classifier; Keras writes, epcore reads."""

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("wrapped", ["nested", "sequential", "per frame"])
    def test_is_read(self, wrapped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("torch", reason="Keras needs a backend: pip install 'epcore[keras]'")
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        keras = pytest.importorskip("keras", reason="Keras is not installed: pip install 'epcore[keras]'")
        base = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(32, 32, 3))
        truth = {variable.path: np.asarray(keras.ops.convert_to_numpy(variable)) for variable in base.variables}
        if wrapped == "per frame":
            picture = keras.Input((2, 32, 32, 3))
            features = keras.layers.TimeDistributed(base)(picture)
        else:
            picture = keras.Input((32, 32, 3))
            features = (keras.Sequential([base]) if wrapped == "sequential" else base)(picture)
        model = keras.Model(picture, keras.layers.Dense(7, name="changed_head")(keras.layers.Flatten()(features)))
        model.save(tmp_path / "model.keras")
        model.save(tmp_path / "model.h5")
        model.save_weights(tmp_path / "model.weights.h5")
        for name in ("model.keras", "model.h5", "model.weights.h5"):
            read = epcore.EfficientNet("B0")
            manifest = epcore.load_weights(read, tmp_path / name)
            assert len(manifest.matched) == 95 and manifest.missing == []
            assert len(manifest.matched) + len(manifest.unused) == len(raw_arrays(tmp_path / name))
            for parameter, array in read.parameters.items():
                layer, _, role = parameter.partition("/")
                wanted = next(value for path, value in truth.items() if path.endswith(f"{layer.replace('.', '_')}/{role}"))
                assert np.array_equal(array, wanted.reshape(array.shape)), parameter
