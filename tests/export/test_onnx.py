"""The ONNX export against epcore, run by ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import outputs_and_bounds

import epcore
from epcore.cli import main
from epcore.export.onnx import export_onnx, onnx_model
from epcore.export.weights import export_weights
from epcore.graph import INPUT, GraphBuilder
from epcore.network import Network
from epcore.shapes import nchw_to_nhwc, nhwc_to_nchw

pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


def session(path: Path) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def small(model: Network, resolution: int = 64, seed: int = 1) -> Network:
    """The network at a small resolution (exports are made for the graph's own), with running statistics of random pictures,
    so that values keep their size from layer to layer."""
    model.graph = dataclasses.replace(model.graph, input_shape=(resolution, resolution, 3))
    rng = np.random.default_rng(seed)
    for name, array in model.parameters.items():
        if name.endswith(("beta", "bias")):
            model.parameters[name] = rng.normal(0, 0.1, array.shape).astype(np.float32)
    model.momentum = 0.0
    model.train().run(rng.normal(size=(4, resolution, resolution, 3)).astype(np.float32))
    return model.eval()


def assert_same(path: Path, model: Network, x: np.ndarray) -> None:
    """Against the network in double, within what float32 rounding does to this network and this x."""
    exact, bounds = outputs_and_bounds(model, x)
    results = session(path).run(list(exact), {"x": x})
    for (label, maps), result in zip(exact.items(), results, strict=True):
        assert result.shape == maps.shape
        assert bounds[label] <= 1e-3 * np.abs(maps).max(), "too ill-conditioned to tell right from wrong"
        assert np.abs(result - maps).max() <= bounds[label], label


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("fold_batch_norm", [True, False])
@pytest.mark.parametrize("variant", ["RT", "I", "II"])
def test_same_maps(variant: str, fold_batch_norm: bool, batch: int, tmp_path: Path, rng: np.random.Generator) -> None:
    model = small(epcore.EfficientPose(variant))
    export_onnx(model, tmp_path / "m.onnx", fold_batch_norm=fold_batch_norm)
    assert_same(tmp_path / "m.onnx", model, rng.normal(size=(batch, 64, 64, 3)).astype(np.float32))


@pytest.mark.parametrize("options", [{"cross_resolution": False}, {"skeleton": False}, {"passes": 1}, {"upscaling": False}])
def test_ablations(options: dict[str, Any], tmp_path: Path, rng: np.random.Generator) -> None:
    model = small(epcore.EfficientPose("I", **options))
    export_onnx(model, tmp_path / "m.onnx")
    assert_same(tmp_path / "m.onnx", model, rng.normal(size=(1, 64, 64, 3)).astype(np.float32))


def test_odd_sizes_of_a_backbone(tmp_path: Path, rng: np.random.Generator) -> None:
    """Pads are explicit, so they are right for the resolution of the graph."""
    model = small(epcore.EfficientNet("B1"), 63)
    export_onnx(model, tmp_path / "m.onnx")
    assert_same(tmp_path / "m.onnx", model, rng.normal(size=(2, 63, 63, 3)).astype(np.float32))


def test_openpose(tmp_path: Path, rng: np.random.Generator) -> None:
    """Slopes, max pooling, and no batch norm to fold."""
    model = small(epcore.OpenPose(), 32)
    export_onnx(model, tmp_path / "m.onnx")
    assert_same(tmp_path / "m.onnx", model, rng.normal(size=(1, 32, 32, 3)).astype(np.float32))


def test_tensors_are_called_as_layers_and_constants_as_parameters() -> None:
    model = epcore.EfficientPose("RT")
    proto = onnx_model(model, fold_batch_norm=False)
    given = {output for node in proto.graph.node for output in node.output}
    layers = {name for name, node in model.graph.nodes.items() if not node.identity_at_inference}
    assert layers <= given
    assert all(name.partition("/")[0] in layers for name in given - layers - {"x_nchw", *model.graph.outputs})
    constants = {tensor.name for tensor in proto.graph.initializer if not tensor.name.endswith("/factor")}
    assert constants == model.graph.parameters.keys()
    folded = {output for node in onnx_model(model).graph.node for output in node.output}
    assert folded < given
    assert {name for name, node in model.graph.nodes.items() if node.op == "batch_norm"} <= folded


def test_a_parameter_that_two_layers_share(tmp_path: Path, rng: np.random.Generator) -> None:
    builder = GraphBuilder((4, 4, 3))
    graph = builder.graph({"y": builder.conv2d("b", builder.conv2d("a", INPUT, 3), 3)})
    nodes = {**graph.nodes, "b": dataclasses.replace(graph.nodes["b"], parameters=graph.nodes["a"].parameters)}
    model = Network(dataclasses.replace(graph, nodes=nodes), "shared")
    export_onnx(model, tmp_path / "m.onnx")
    assert_same(tmp_path / "m.onnx", model, rng.normal(size=(1, 4, 4, 3)).astype(np.float32))


def test_operator_without_a_counterpart() -> None:
    builder = GraphBuilder((4, 4, 3))
    model = Network(builder.graph({"y": builder.node("loss", "mse", [INPUT, INPUT], 1)}), "m")
    with pytest.raises(ValueError, match="loss: operator mse has no counterpart in the export"):
        onnx_model(model)


def test_nchw(tmp_path: Path, rng: np.random.Generator) -> None:
    model = small(epcore.EfficientPose("RT"))
    export_onnx(model, tmp_path / "nhwc.onnx")
    export_onnx(model, tmp_path / "nchw.onnx", layout="NCHW")
    x = rng.normal(size=(1, 64, 64, 3)).astype(np.float32)
    (expected,) = session(tmp_path / "nhwc.onnx").run(["upscaled"], {"x": x})
    (result,) = session(tmp_path / "nchw.onnx").run(["upscaled"], {"x": np.ascontiguousarray(nhwc_to_nchw(x))})
    assert np.array_equal(nchw_to_nhwc(result), expected)


@pytest.mark.parametrize("variant", ["RT", "I"])
def test_release_weights_give_the_golden_maps(variant: str, tmp_path: Path, data_path: Callable[[str], Path]) -> None:
    model = epcore.EfficientPose(variant)
    epcore.load_weights(model, data_path(f"release/EfficientPose{variant}.h5"))
    export_onnx(model, tmp_path / "m.onnx")
    labels = ["pafs", "confs2", "confs3", "upscaled"]
    with np.load(data_path(f"golden/EfficientPose{variant}.npz")) as golden:
        for label, maps in zip(labels, session(tmp_path / "m.onnx").run(labels, {"x": golden["photo/x"]}), strict=True):
            assert np.abs(maps - golden[f"photo/{label}"]).max() <= 1e-5, label


def test_release_weights_give_the_golden_keypoints(tmp_path: Path, data_path: Callable[[str], Path]) -> None:
    from epcore.pose import decode

    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, data_path("release/EfficientPoseRT.h5"))
    export_onnx(model, tmp_path / "m.onnx")
    with np.load(data_path("golden/EfficientPoseRT.npz")) as golden:
        (maps,) = session(tmp_path / "m.onnx").run(["upscaled"], {"x": golden["photo/x"]})
        assert np.abs(maps - golden["photo/upscaled"]).max() <= 1e-5
        points, _ = decode(maps[0], real_time=False)
        assert np.allclose(points, golden["photo/coords"], atol=1e-12)


class TestCommand:
    def test_writes_a_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        export_weights(epcore.EfficientPose("RT"), tmp_path / "w.h5")
        arguments = ["export-onnx", "--weights", str(tmp_path / "w.h5"), "--output", str(tmp_path / "m.onnx")]
        assert main(arguments) == 0
        assert "opset 17, x (batch, 224, 224, 3)" in capsys.readouterr().out
        assert session(tmp_path / "m.onnx").get_inputs()[0].shape == ["batch", 224, 224, 3]

    def test_folder_that_does_not_exist(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["export-onnx", "--weights", "w.h5", "--output", str(tmp_path / "no" / "m.onnx")]) == 2
        assert "there is no folder" in capsys.readouterr().err

    def test_unknown_layout(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="CHWN"):
            export_onnx(epcore.EfficientPose("RT"), tmp_path / "m.onnx", layout="CHWN")
