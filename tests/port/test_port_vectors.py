"""`epcore vectors`: what is stored is what the network gives, by oracles of their own, in every layout and format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from places import exit_code

import epcore
from epcore.cli import main
from epcore.network import Network
from epcore.ops import OPS
from epcore.port.store import read_vectors, write_vectors
from epcore.port.vectors import channel_statistics, network_vectors, operator_vectors, sampled
from epcore.sums import in_one_chain
from epcore.weights_tools.name_map import keras_name

SIZE = 64


@pytest.fixture(scope="module")
def model() -> Network:
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, Path(epcore.__file__).parent / "models" / "synthetic_rt.h5")
    return model


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, SIZE, SIZE, 3), dtype=np.float32)


def test_published_layers(data_path: Callable[[str], Path]) -> None:
    """Means and deviations of every named layer of the published RT on a photograph, found by the authors' own graph."""
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, data_path("release/EfficientPoseRT.h5"))
    photo = np.load(data_path("golden/EfficientPoseRT.npz"))["photo/x"]
    arrays = network_vectors(model, photo, gradients=False, full=True, dtype="float64").arrays
    golden = np.load(data_path("golden/EfficientPoseRT_photo_layer_stats.npz"))
    layers = {node.name: node.parameters for node in model.graph.nodes.values() if node.op != "squeeze_excite"}
    compared = 0
    for name, parameters in layers.items():
        if not parameters or parameters[0] is None or f"{keras_name(parameters[0])[0]}/mean" not in golden.files:
            continue
        y, keras = arrays[f"layers/{name}"], keras_name(parameters[0])[0]
        bound = 1e-5 * np.abs(y).max()  # the golden ones were computed in float32
        assert np.abs(y.mean((0, 1, 2)) - golden[f"{keras}/mean"]).max() <= bound, name
        assert np.abs(y.std((0, 1, 2)) - golden[f"{keras}/std"]).max() <= bound, name
        compared += 1
    assert compared == sum(bool(parameters) for parameters in layers.values())


def test_gradients_by_differences(model: Network, x: np.ndarray) -> None:
    """The loss that the manifest states, along random directions of the input and of one kernel, in double precision."""
    vectors = network_vectors(model, x, dtype="float64", seed=5)
    rng = np.random.default_rng(1)
    double = epcore.EfficientPose("RT").astype(np.float64)
    double.parameters = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    kernel = "pass1.block1.mbconv1.dwconv/kernel"
    start = double.parameters[kernel]

    def loss(at: np.ndarray) -> float:
        outputs = double.run(at)
        return sum(
            float((outputs[label] * vectors.arrays[f"directions/{label}"]).sum()) for label in vectors.manifest["outputs"]
        )

    for key, value in (("input_gradient", x.astype(np.float64)), (f"parameter_gradients/{kernel}", start)):
        v = rng.standard_normal(value.shape)
        ends = []
        for h in (1e-4, -1e-4):
            if key == "input_gradient":
                ends.append(loss(value + h * v))
            else:
                double.parameters[kernel] = start + h * v
                ends.append(loss(x.astype(np.float64)))
        double.parameters[kernel] = start
        expected = float((vectors.arrays[key] * v).sum())
        assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(expected, rel=1e-5)
    assert len([name for name in vectors.arrays if name.startswith("parameter_gradients/")]) == sum(
        spec.trainable for spec in model.graph.parameters.values()
    )


def test_layer_gradients(model: Network, x: np.ndarray) -> None:
    """dL/d(output of the last layer) is its direction; that of a head is what its bias' gradient sums up."""
    arrays = network_vectors(model, x, full=True, dtype="float64").arrays
    np.testing.assert_array_equal(arrays["layer_gradients/upscale3"], arrays["directions/upscaled"])
    for head in ("pass1.pafs", "pass3.confs"):
        summed = arrays[f"layer_gradients/{head}"].sum((0, 1, 2))
        np.testing.assert_allclose(arrays[f"parameter_gradients/{head}/bias"], summed, rtol=1e-9)


def test_samples_and_statistics(model: Network, x: np.ndarray) -> None:
    """Large maps are the whole ones at the listed rows and columns, with every channel's statistics."""
    full = network_vectors(model, x, gradients=False, full=True)
    part = network_vectors(model, x, gradients=False)
    entries = {layer["name"]: layer for layer in part.manifest["layers"]}
    y, entry = full.arrays["layers/high.stem_conv"], entries["high.stem_conv"]
    assert entry["rows"] == [0, 1, 2, 15, 16, 29, 30, 31] == sampled(32)
    np.testing.assert_array_equal(part.arrays["samples/high.stem_conv"], y[:, entry["rows"]][:, :, entry["columns"]])
    np.testing.assert_allclose(
        part.arrays["channels/high.stem_conv"], channel_statistics(y.astype(np.float64)), rtol=1e-5, atol=1e-6
    )
    assert "layers/high.stem_conv" not in part.arrays
    np.testing.assert_array_equal(part.arrays["layers/pass1.pafs"], full.arrays["layers/pass1.pafs"])


def test_rounding_is_what_single_precision_does(model: Network, x: np.ndarray) -> None:
    """With sums over pixels in one chain, as a plain kernel adds."""
    vectors = network_vectors(model, x, gradients=False, full=True, dtype="float64")
    entry = next(layer for layer in vectors.manifest["layers"] if layer["name"] == "pass1.pafs")
    with epcore.use_backend("reference"), in_one_chain():
        single = model.run(x)["pafs"]
    assert entry["rounding"] == np.abs(single - vectors.arrays["layers/pass1.pafs"]).max() > 0
    assert entry["largest"] == np.abs(vectors.arrays["layers/pass1.pafs"]).max()


def test_training_mode(model: Network, x: np.ndarray) -> None:
    """The statistics of the batch; the model itself stays as it was."""
    before = {name: array.copy() for name, array in model.parameters.items()}
    vectors = network_vectors(model, x, training=True, full=True, dtype="float64")
    z = vectors.arrays["layers/high.stem_bn"]
    beta = model.parameters["high.stem_bn/beta"]
    np.testing.assert_allclose(z.mean((0, 1, 2)), beta, atol=1e-12)
    assert not model.training and all(np.array_equal(before[name], array) for name, array in model.parameters.items())
    assert vectors.manifest["mode"] == "training"


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_files_and_layouts(suffix: str, model: Network, x: np.ndarray, tmp_path: Path) -> None:
    """A file gives back the very arrays; NCHW ones are ours with their axes moved."""
    ours, moved = network_vectors(model, x), network_vectors(model, x, layout="NCHW")
    write_vectors(tmp_path / f"v{suffix}", moved)
    back = read_vectors(tmp_path / f"v{suffix}")
    assert back.manifest == json.loads(json.dumps(moved.manifest)) and back.arrays.keys() == moved.arrays.keys()
    for name, array in moved.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
    for name in ("layers/pass1.pafs", "input", "gradient_samples/high.stem_conv", "directions/upscaled"):
        np.testing.assert_array_equal(moved.arrays[name].transpose(0, 2, 3, 1), ours.arrays[name])
    for kernel, axes in (("high.stem_conv", (3, 2, 0, 1)), ("upscale1", (3, 2, 0, 1))):
        name = f"parameter_gradients/{kernel}/kernel"
        np.testing.assert_array_equal(moved.arrays[name], ours.arrays[name].transpose(axes))
    name = "parameter_gradients/high.block1a.dwconv/kernel"
    np.testing.assert_array_equal(moved.arrays[name][:, 0], ours.arrays[name].transpose(2, 0, 1))


def test_every_operator_has_its_cases() -> None:
    """y and gradients are those of inputs as stored, in float64: recomputed here from the file's float32 arrays."""
    vectors = operator_vectors(dtype="float64")
    assert {case["op"] for case in vectors.manifest["cases"]} == set(OPS)
    whats = [case["what"] for case in vectors.manifest["cases"]]
    assert any("1x1 map" in what for what in whats) and any("stride 2, 7x9" in what for what in whats)
    for case in vectors.manifest["cases"]:
        op, prefix = OPS[case["op"]], f"cases/{case['name']}"
        given = {name.rpartition("/")[2]: array for name, array in vectors.arrays.items() if name.startswith(f"{prefix}/")}
        count = len([name for name in given if name.startswith("xs[")]) or 9
        inputs = [given.get(name) for name in op.array_names(count)]
        assert all(np.array_equal(a, a.astype(np.float32)) for a in inputs if a is not None), "inputs are exact in float32"
        y, saved = op.forward(*inputs, **case["attributes"])
        np.testing.assert_array_equal(given["y"], y)
        for name, gradient in zip(op.array_names(count), op.backward(given["dy"], saved, **case["attributes"]), strict=True):
            if gradient is not None and f"d{name}" in given:
                np.testing.assert_array_equal(given[f"d{name}"], gradient)


def test_operators_against_torch() -> None:
    """NCHW cases go into PyTorch as they are."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    vectors = operator_vectors(layout="NCHW", dtype="float64")
    checked = 0
    for case in vectors.manifest["cases"]:
        prefix, stride = f"cases/{case['name']}", case["attributes"].get("stride", 1)
        given = {
            name.rpartition("/")[2]: torch.from_numpy(array).requires_grad_()
            for name, array in vectors.arrays.items()
            if name.startswith(f"{prefix}/")
        }
        functional = torch.nn.functional
        if case["op"] == "conv_transpose2d" and given["w"].shape[-1] == 4:
            y = functional.conv_transpose2d(given["x"], given["w"], given.get("b"), stride=2, padding=1)
        elif case["op"] in ("conv2d", "depthwise_conv2d") and stride == 1:
            groups = given["x"].shape[1] if case["op"] == "depthwise_conv2d" else 1
            y = functional.conv2d(given["x"], given["w"], given.get("b"), padding=given["w"].shape[-1] // 2, groups=groups)
        elif case["op"] in ("swish", "eswish"):
            y = functional.silu(given["x"]) * (case["attributes"].get("beta", 1.25) if case["op"] == "eswish" else 1)
        elif case["op"] == "max_pool" and case["attributes"] == {"size": 2, "stride": 2}:
            y = functional.max_pool2d(given["x"], 2, 2, ceil_mode=True)
        else:
            continue
        y.backward(given["dy"].detach())
        for name in [name for name in given if name.startswith("d") and name != "dy"]:
            expected = given[name.removeprefix("d")].grad.numpy()
            np.testing.assert_allclose(given[name].detach().numpy(), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(given["y"].detach().numpy(), y.detach().numpy(), rtol=1e-10, atol=1e-12)
        checked += 1
    assert checked >= 15


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], data_path: Callable[[str], Path]) -> None:
    photo, file = data_path("release/photo.jpg"), tmp_path / "v.npz"
    assert main(["vectors", "--output", str(file), "--image", str(photo), "--no-gradients", "--layout", "NCHW"]) == 0
    out = capsys.readouterr().out
    assert "144 layers of EfficientPose RT" in out and "NCHW, float32" in out
    vectors = read_vectors(file)
    assert vectors.manifest["variant"] == "RT" and len(vectors.manifest["weights_sha256"]) == 64
    assert vectors.arrays["input"].shape == (1, 3, 224, 224)
    assert not any("gradient" in name for name in vectors.arrays)
    assert main(["vectors", "--operators", "--output", str(tmp_path / "o.h5")]) == 0
    assert "18 operators" in capsys.readouterr().out


def test_same_seed_same_file(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        assert main(["vectors", "--output", str(tmp_path / name), "--size", "32", "--seed", "7"]) == 0
    a, b = read_vectors(tmp_path / "a.npz"), read_vectors(tmp_path / "b.npz")
    assert a.manifest == b.manifest and all(np.array_equal(a.arrays[name], b.arrays[name]) for name in a.arrays)


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((1, 32, 32, 4), np.float32))
    np.save(tmp_path / "double.npy", np.zeros((1, 32, 32, 3)))
    output = str(tmp_path / "v.npz")
    for arguments, words in (
        (["--output", str(tmp_path / "v.txt")], "expected .npz or .h5"),
        (["--output", str(tmp_path / "no" / "v.npz")], "no folder"),
        (["--output", output, "--size", "100"], "expected a multiple of 16"),
        (["--output", output, "--batch", "0"], "expected a whole number from 1"),
        (["--output", output, "--seed", "-1"], "expected a whole number from 0"),
        (["--output", output, "--input", str(tmp_path / "wrong.npy")], "expected (N, height, width, 3)"),
        (["--output", output, "--input", str(tmp_path / "double.npy")], "float32"),
        (["--output", output, "--model", "VI"], "VI"),
        (["--output", output, "--model", "II"], "no weights for EfficientPose II"),
    ):
        assert exit_code(["vectors", *arguments]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(("epcore: error: ", "epcore vectors: error: ")) and words in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["double.npy", "wrong.npy"]


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_damaged_files(suffix: str, tmp_path: Path) -> None:
    """Flipped bits and cut ends: the arrays as they were read, or one clear error; never a crash."""
    path = tmp_path / f"v{suffix}"
    write_vectors(path, operator_vectors())
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for trial in range(150):
        damaged = bytearray(content)
        if trial < 30:
            damaged = damaged[: int(rng.integers(len(content)))]
        else:
            damaged[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read_vectors(path)
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) >= 30 and all(str(path) in message for message in refused)
