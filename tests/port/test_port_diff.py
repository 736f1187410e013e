"""`epcore diff`: every known porting mistake, planted in a port of its own, is found at the right layer and named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from places import exit_code
from port_helpers import Port, randomized

import epcore
from epcore.cli import main
from epcore.network import Network
from epcore.port.diff import Report, find_divergences
from epcore.port.match import match_port
from epcore.port.setting import Setting
from epcore.port.store import Vectors, write_vectors
from epcore.port.vectors import network_vectors, operator_vectors
from epcore.pose.skeleton import FLIP_PERMUTATION

SIZE = 64


@pytest.fixture(scope="module")
def model(x: np.ndarray) -> Network:
    """I: it has a low branch. Its own weights are not needed for that."""
    return randomized(epcore.EfficientPose("I"), x)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, SIZE, SIZE, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def rounding(model: Network, x: np.ndarray) -> dict[str, float]:
    manifest = network_vectors(model, x, gradients=False).manifest
    return {layer["name"]: layer["rounding"] for layer in manifest["layers"]}


def search(
    model: Network, x: np.ndarray, rounding: dict[str, float], port: dict[str, np.ndarray], given: list[str] | None = None
) -> Report:
    arrays = {name: y for name, y in port.items() if name in model.graph.nodes and (given is None or name in given)}
    shapes = model.graph.shapes(1, x.shape[1:])
    matched = match_port(arrays, model.graph, shapes)
    assert matched.layout == "NCHW"
    parameters = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    setting = Setting(model.graph, parameters, x.astype(np.float64))
    return find_divergences(setting, matched.layers, matched.wrong_shapes, rounding)


def test_a_right_port_agrees(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    report = search(model, x, rounding, Port(model).run(x))
    assert report.agrees and len(report.agreeing) == len(model.graph.nodes)


FIRST = {  # mistake -> the first layer it shows in, words of the diagnosis
    "padding": ("high.stem_conv", "SAME padding shifted"),
    "epsilon": ("high.stem_bn", "batch norm with epsilon 1e-05"),
    "swish": ("pass1.block1.mbconv1.expand_activation", "activation: swish, x sigmoid(x)"),
    "swish inside": ("pass1.block1.mbconv1.expand_activation", "activation: x sigmoid(1.25 x)"),
    "swish in se": ("pass1.block1.mbconv1.se", "inside squeeze-excite, activation: swish"),
    "crop": ("upscale1", "border of the transposed convolution: nothing cropped at the start"),
    "edge": ("upscale1", "border of the transposed convolution: values at the edge repeated"),
    "concat": ("features", "concat order: inputs reversed"),
    "kernel turned": ("high.block1a.dwconv", "kernel turned by 180 degrees"),
    "drop scaling": ("high.block1b.drop_connect", "scaled by 1 - rate"),
    "no add": ("high.block1b.add", "the sum left out: only its first input"),
    "low add": ("features", "low branch tapped after a residual add"),
    "tf preprocessing": ("high.stem_conv", "preprocessing: pixel / 127.5 - 1"),
    "bgr": ("high.stem_conv", "preprocessing: BGR instead of RGB"),
}


@pytest.mark.parametrize("mistake", FIRST)
def test_every_layer_given(mistake: str, model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    """Found where it is made, named, and with it taken over everything else agrees."""
    report = search(model, x, rounding, Port(model, frozenset([mistake])).run(x))
    layer, words = FIRST[mistake]
    (found,) = report.divergences
    assert found.layer == layer and found.suspects == (layer,)
    assert found.causes[0].exact and words in found.causes[0].title
    assert not report.not_reached and len(report.agreeing) == len(model.graph.nodes) - 1


@pytest.mark.parametrize("mistake", FIRST)
def test_only_outputs_given(mistake: str, model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    """The whole network between what is given and nothing that agrees."""
    outputs = list(model.graph.outputs.values())
    report = search(model, x, rounding, Port(model, frozenset([mistake])).run(x), outputs)
    assert found_words(report) == [FIRST[mistake][1]] and not report.not_reached


def found_words(report: Report) -> list[str]:
    titles = [each.causes[0].title for each in report.divergences if each.causes and each.causes[0].exact]
    known = sorted((words for _, words in FIRST.values()), key=len, reverse=True)
    return [next((words for words in known if words in title), title) for title in titles]


def test_one_layer_only(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    """A mistake in one layer is not laid to the others of its kind."""
    layer = "high.block3a.dwconv"
    report = search(model, x, rounding, Port(model, frozenset(["padding"]), frozenset([layer])).run(x))
    (found,) = report.divergences
    assert found.layer == layer and found.causes[0].layers == (layer,) and "(1, 2)" in found.causes[0].hint


def test_several_mistakes_in_one_run(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    port = Port(model, frozenset(["padding", "epsilon", "swish in se", "edge"])).run(x)
    report = search(model, x, rounding, port)
    words = [FIRST[mistake][1] for mistake in ("padding", "epsilon", "swish in se", "edge")]
    assert list(dict.fromkeys(found_words(report))) == words and not report.not_reached


def test_joint_order(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    """Only the maps the port hands out are in another order; what is computed from them is not."""
    port = Port(model).run(x)
    for name in ("pass3.confs", "upscale3"):
        port[name] = port[name][:, FLIP_PERMUTATION]
    report = search(model, x, rounding, port)
    assert [each.layer for each in report.divergences] == ["pass3.confs", "upscale3"]
    assert all(each.causes[0].title == "joint order: left and right exchanged" for each in report.divergences)


def test_channels_moved_in_the_network(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    """What follows reads the moved channels, so the move is taken over and the rest agrees."""
    layer = "high.block2a.se"
    report = search(model, x, rounding, Port(model, frozenset(["channels rolled"]), frozenset([layer])).run(x))
    (found,) = report.divergences
    assert found.layer == layer and found.causes[0].title.startswith("channel permutation")


def test_half_precision_is_called_rounding(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    report = search(model, x, rounding, Port(model, frozenset(["half precision"])).run(x), ["pass1.pafs"])
    (found,) = report.divergences
    assert "half precision" in found.causes[0].title and not found.causes[0].exact


def test_unknown_mistakes_are_admitted(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    port = Port(model).run(x)
    port["high.block2a.dwconv"] = np.sin(port["high.block2a.dwconv"])
    report = search(model, x, rounding, port)
    (found,) = report.divergences
    assert found.layer == "high.block2a.dwconv" and not any(cause.exact for cause in found.causes)
    assert report.not_reached


def test_where(model: Network, x: np.ndarray, rounding: dict[str, float]) -> None:
    port = Port(model).run(x)
    port["high.block2a.expand_bn"][0, 5, 3, 7] += 1
    port["upscale3"][:, :, :, -1] = 0
    first, second = search(model, x, rounding, port, ["high.block2a.expand_bn"]), search(model, x, rounding, port, ["upscale3"])
    assert first.divergences[0].difference is not None and second.divergences[0].difference is not None
    assert first.divergences[0].difference.place == (0, 3, 7, 5)
    assert "row 3" in first.divergences[0].difference.where and "channels: 5" in first.divergences[0].difference.where
    assert f"column {SIZE - 1} (the last)" in second.divergences[0].difference.where


# ---- the command -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vectors.npz of RT's own weights at 64 pixels."""
    folder = tmp_path_factory.mktemp("port")
    assert main(["vectors", "--output", str(folder / "vectors.npz"), "--size", str(SIZE)]) == 0
    return folder


def run_port(folder: Path, *mistakes: str) -> tuple[Network, dict[str, np.ndarray]]:
    rt = epcore.EfficientPose("RT")
    epcore.load_weights(rt, Path(epcore.__file__).parent / "models" / "synthetic_rt.h5")
    with np.load(folder / "vectors.npz") as vectors:
        return rt, Port(rt, frozenset(mistakes)).run(vectors["input"])


def test_command_agrees(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, port = run_port(files)
    write_vectors(files / "port.h5", Vectors({f"layers/{name}": y for name, y in port.items() if name != "input"}))
    assert main(["diff", str(files / "port.h5"), "--vectors", str(files / "vectors.npz")]) == 0
    out = capsys.readouterr().out
    assert "144 agree" in out and "diverges" not in out


def test_command_diverges(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the JSON says what the text says. Arrays may lack the batch axis and have labels for names."""
    _, port = run_port(files, "edge")
    arrays = {"maps": port["upscale3"][0], "pafs": port["pass1.pafs"][0]}
    write_vectors(files / "port.npz", Vectors(arrays))
    (files / "names.json").write_text('{"maps": "upscaled"}')
    command = ["diff", str(files / "port.npz"), "--vectors", str(files / "vectors.npz"), "--names", str(files / "names.json")]
    assert main([*command, "--json", "-"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    (found,) = result["divergences"]
    assert found["layer"] == "upscale3" and found["suspects"][-3:] == ["upscale1", "upscale2", "upscale3"]
    assert "values at the edge repeated" in found["causes"][0]["title"] and found["causes"][0]["exact"]
    assert "upscale3 (conv_transpose2d) diverges" in captured.err and "outermost 7 pixels along the border" in captured.err


def test_command_takes_the_port_input_over(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, port = run_port(files, "tf preprocessing")
    write_vectors(files / "port.npz", Vectors(port))
    assert main(["diff", str(files / "port.npz"), "--vectors", str(files / "vectors.npz")]) == 1
    out = capsys.readouterr().out
    assert "1. input" in out and "pixel / 127.5 - 1" in out and "2. " not in out


def test_gradients(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Agree as they are; a wrong one is traced to the operator whose backward pass made it."""
    with np.load(files / "vectors.npz") as vectors:
        arrays = {name: vectors[name] for name in vectors.files if name != "epcore" and "samples" not in name}
    arrays = {name: array for name, array in arrays.items() if not name.startswith(("channels", "gradient_channels"))}
    assert any(name.startswith("parameter_gradients/") for name in arrays)
    command = ["diff", str(files / "port.npz"), "--vectors", str(files / "vectors.npz")]
    write_vectors(files / "port.npz", Vectors(arrays))
    assert main(command) == 0
    assert "first wrong gradient" not in capsys.readouterr().out
    name = "parameter_gradients/pass2.block1.mbconv2.dwconv/kernel"
    wrong = arrays | {name: 2 * arrays[name], "input_gradient": 0 * arrays["input_gradient"]}
    write_vectors(files / "port.npz", Vectors(wrong))
    assert main(command) == 1
    out = capsys.readouterr().out
    assert f"first wrong gradient: {name}" in out and "it is 2 times the right one" in out
    assert "pass2.block1.mbconv2.dwconv (depthwise_conv2d) with respect to kernel" in out
    write_vectors(files / "port.npz", Vectors(arrays | {"input_gradient": arrays["input_gradient"][:, ::-1]}))
    assert main(command) == 1
    assert "first wrong gradient: layer_gradients/input" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_operators(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = operator_vectors(layout=layout)
    write_vectors(tmp_path / "golden.npz", golden)
    port = dict(golden.arrays)
    command = ["diff", str(tmp_path / "port.npz"), "--vectors", str(tmp_path / "golden.npz")]
    write_vectors(tmp_path / "port.npz", Vectors(port))
    assert main(command) == 0
    case = next(
        c for c in golden.manifest["cases"] if c["op"] == "depthwise_conv2d" and c["what"].startswith("3x3 stride 2, 6x8")
    )
    prefix = f"cases/{case['name']}"
    x, w = port[f"{prefix}/x"], port[f"{prefix}/w"]
    if layout == "NHWC":
        x, w = x.transpose(0, 3, 1, 2), w.transpose(2, 0, 1)[:, None]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (0, 0), (1, 0), (1, 0)]), (3, 3), axis=(2, 3))
    y = np.einsum("nchwuv,cuv->nchw", windows[:, :, ::2, ::2], w[:, 0])
    port[f"{prefix}/y"] = y if layout == "NCHW" else y.transpose(0, 2, 3, 1)
    port[f"{prefix}/dw"] = 0.5 * port[f"{prefix}/dw"]
    write_vectors(tmp_path / "port.npz", Vectors(port))
    assert main([*command, "--json", str(tmp_path / "found.json")]) == 1
    found = json.loads((tmp_path / "found.json").read_text())["wrong"]
    assert [(each["case"], each["array"]) for each in found] == [(case["name"], "y"), (case["name"], "dw")]
    assert "SAME padding shifted" in found[0]["causes"][0]
    assert "SAME padding at stride 2 is (0, 1)" in capsys.readouterr().out


def test_bad_input(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = str(files / "vectors.npz")
    write_vectors(tmp_path / "names.npz", Vectors({"high.stem_cnv": np.zeros(3)}))
    write_vectors(tmp_path / "twice.npz", Vectors({"pafs": np.zeros((1, 8, 8, 28)), "pass1.pafs": np.zeros((1, 8, 8, 28))}))
    np.savez(tmp_path / "objects.npz", pafs=np.array([None]))
    np.savez(tmp_path / "text.npz", pafs=np.array(["a"]))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "broken.npz").write_bytes((files / "vectors.npz").read_bytes()[:5000])
    good = str(tmp_path / "good.npz")
    write_vectors(good, Vectors({"pafs": np.zeros((1, 8, 8, 28), np.float32)}))
    for arguments, words in (
        ([str(tmp_path / "names.npz"), "--vectors", vectors], "did you mean 'high.stem_conv'?"),
        ([str(tmp_path / "twice.npz"), "--vectors", vectors], "both claim to be pass1.pafs"),
        ([str(tmp_path / "objects.npz"), "--vectors", vectors], "Python objects"),
        ([str(tmp_path / "text.npz"), "--vectors", vectors], "expected numbers"),
        ([str(tmp_path / "broken.npz"), "--vectors", vectors], "damaged"),
        ([str(tmp_path / "missing.npz"), "--vectors", vectors], "missing.npz"),
        ([good, "--vectors", good], "make it with `epcore vectors`"),
        ([good, "--vectors", vectors, "--tolerance", "-1"], "expected a number above 0"),
        ([good, "--vectors", vectors, "--names", str(tmp_path / "list.json")], "no JSON object"),
        ([good, "--vectors", vectors, "--json", str(tmp_path / "no" / "x.json")], "no folder"),
        ([str(tmp_path / "port.txt"), "--vectors", vectors], "expected .npz or .h5"),
    ):
        assert exit_code(["diff", *arguments]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(("epcore: error: ", "epcore diff: error: ")) and words in error


def test_wrong_shape_and_nan(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, port = run_port(files)
    command = ["diff", str(files / "port.npz"), "--vectors", str(files / "vectors.npz")]
    write_vectors(files / "port.npz", Vectors(port | {"high.stem_conv": port["high.stem_conv"][:, :, 1:, 1:]}))
    assert main(command) == 1
    assert "its shape is (1, 32, 31, 31), expected (1, 32, 32, 32): look at padding and stride" in capsys.readouterr().out
    port["high.stem_conv"][0, 0, 0, 0] = np.nan
    write_vectors(files / "port.npz", Vectors(port))
    assert main(command) == 1
    assert "1 values are NaN or infinite" in capsys.readouterr().out


def test_other_weights_are_refused(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rt, port = run_port(files)
    write_vectors(tmp_path / "port.npz", Vectors(port))
    from epcore.export.weights import export_weights

    export_weights(rt, tmp_path / "other.h5")
    command = ["diff", str(tmp_path / "port.npz"), "--vectors", str(files / "vectors.npz")]
    assert main([*command, "--weights", str(tmp_path / "other.h5")]) == 2
    assert "made with other weights" in capsys.readouterr().err
