"""An operator is one file: hard swish (`added/hard_swish.py`) is used everywhere, and nothing else knows its name.

A user puts the file into `epcore/ops` and its name into the list there. The test does the same to the running package: the
folder `added` becomes part of `epcore.ops`, and `OPS` gets the entry.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import EPS, gradients_and_bounds, outputs_and_bounds

import epcore
import epcore.ops
from epcore import backend
from epcore.audit.conventions import CONVENTIONS
from epcore.audit.count import count_forward, count_parameters, count_training
from epcore.audit.layers import count_layers
from epcore.audit.memory import inference_peak, training_peak
from epcore.cli import main
from epcore.doctor.check import WrongError, run_check
from epcore.gradcheck import NETWORK_BOUND, NetworkCheck, cases, check_case
from epcore.graph import INPUT, Graph, GraphBuilder
from epcore.network import Network
from epcore.ops import OPS
from epcore.port.diff import find_divergences
from epcore.port.readiness.assess import FLOAT16, INT8, assess
from epcore.port.readiness.device import device_network
from epcore.port.readiness.findings import find
from epcore.port.readiness.text import half_text, int8_text, layers_text
from epcore.port.setting import Setting
from epcore.port.store import Vectors, read_vectors, write_vectors
from epcore.port.vectors import network_vectors
from epcore.tape import Tape

NAME = "hard_swish"
FILE = Path(__file__).parent / "added" / f"{NAME}.py"
ELEMENTS = 16 * 16 * 8 + 8 * 8 * 8  # of the two activations below


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(epcore.ops, "__path__", [*epcore.ops.__path__, str(FILE.parent)])
    module = import_module(f"epcore.ops.{NAME}")
    monkeypatch.setitem(OPS, NAME, module.OP)
    yield
    del sys.modules[module.__name__]
    delattr(epcore.ops, NAME)
    for cached in (backend.has_kernel, backend.kernel_module):
        cached.cache_clear()


def graph(activation: str = NAME) -> Graph:
    """Two activations: after a convolution with a batch norm, and after a depthwise one."""
    builder = GraphBuilder((16, 16, 3))
    builder.stage = "all of it"
    x = builder.batch_norm("first_bn", builder.conv2d("first", INPUT, 8, kernel=3))
    x = builder.activation("first_act", x, activation)
    x = builder.batch_norm("second_bn", builder.depthwise_conv2d("second", x, kernel=5, stride=2))
    x = builder.activation("second_act", x, activation)
    return builder.graph({"y": builder.conv2d("last", x, 4, bias=True)})


@pytest.fixture
def model() -> Network:
    network = Network(graph(), "new", seed=3)
    rng = np.random.default_rng(4)
    for name in ("first_bn", "second_bn"):
        network.parameters[f"{name}/beta"] = rng.normal(0, 3, 8).astype(np.float32)  # to both sides of the kinks
    return network


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((2, 16, 16, 3), dtype=np.float32)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(list(arguments))
    return code, "".join(capsys.readouterr())


def test_page() -> None:
    page = OPS[NAME].page
    assert page.equation == "y = x * clip(x + 3, 0, 6) / 6"
    assert page.saved.splitlines()[0] == "x"


class TestBackends:
    def test_auto_is_the_reference(self, model: Network, x: np.ndarray) -> None:
        exact, bounds = outputs_and_bounds(model, x)
        assert np.abs(model.run(x)["y"] - exact["y"]).max() <= bounds["y"]
        assert bounds["y"] <= 1e-3 * np.abs(exact["y"]).max()

    def test_gradients_under_auto(self, model: Network, x: np.ndarray) -> None:
        """Of all parameters, in float32 with kernels for all other operators, and in double."""

        def step(network: Network, tape: Tape) -> dict[str, np.ndarray]:
            outputs, watched = network.train().record(x.astype(network.dtype), tape)
            tape.backward(tape.apply("mse", outputs["y"], np.zeros(outputs["y"].shape, network.dtype)))
            gradients = {name: tape.gradient(tensor) for name, tensor in watched.items()}
            return {name: gradient for name, gradient in gradients.items() if gradient is not None}

        exact, bounds = gradients_and_bounds(model, step)
        found = step(model, Tape())
        assert found.keys() == exact.keys() == set(model.trainable())
        for name, gradient in found.items():
            assert np.abs(gradient - exact[name]).max() <= bounds[name] * EPS, name

    @pytest.mark.parametrize("name", ["cpu", "cuda"])
    def test_a_named_backend_has_to_have_it(self, name: str, model: Network, x: np.ndarray) -> None:
        message = f"hard_swish has no kernel on backend '{name}': there is no module epcore.kernels.{name}.hard_swish"
        with pytest.raises(ValueError, match=message):
            backend.kernel_module(NAME, name)
        if name == "cpu":
            with epcore.use_backend(name), pytest.raises(ValueError, match=message):
                model.run(x)


class TestGradients:
    def test_cases(self) -> None:
        found = [case for case in cases() if case.op == NAME]
        assert {case.tiny for case in found} == {True, False}
        inside = np.abs(found[0].arrays[0]) < 3
        assert inside.any() and not inside.all()
        assert all(result.passed for case in found for result in check_case(case))

    def test_a_wrong_one_is_noticed(self) -> None:
        wrong = dataclasses.replace(OPS[NAME], backward=lambda dy, saved: (dy * np.clip(saved[0] + 3, 0, 6) / 6,))
        assert not all(result.passed for case in cases() if case.op == NAME for result in check_case(case, wrong))

    def test_in_a_network(self, model: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        assert NetworkCheck(model, 16).together() <= NETWORK_BOUND
        module = import_module(f"epcore.ops.{NAME}")
        right = module.backward
        monkeypatch.setattr(module, "backward", lambda dy, saved: (right(dy, saved)[0] * 1.001,))
        assert NetworkCheck(model, 16).together() > NETWORK_BOUND


class TestAudit:
    def test_parameters(self) -> None:
        assert count_parameters(graph()) == count_parameters(graph("relu"))

    def test_work_in_all_conventions(self) -> None:
        """Beside ReLU: five operations an element instead of one, six backward instead of one; others do not know it."""
        new, relu = graph(), graph("relu")
        more = {name: count_forward(new, name) - count_forward(relu, name) for name in CONVENTIONS}
        assert more == {"macs": 0, "flops": 4 * ELEMENTS, "tf_profiler": 0}
        step, known = count_training(new, frozen=()), count_training(relu, frozen=())
        assert (step.forward - known.forward, step.backward - known.backward) == (4 * ELEMENTS, 5 * ELEMENTS)

    def test_operations_have_to_be_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(OPS, NAME, dataclasses.replace(OPS[NAME], operations=None))
        with pytest.raises(ValueError, match="how many operations an element of 'hard_swish' is"):
            count_forward(graph(), "flops")

    def test_layers(self) -> None:
        layers = {layer.name: layer for layer in count_layers(graph())}
        layer = layers["first_act"]
        assert (layer.op, layer.flops, layer.activation_bytes) == (NAME, 5 * 16 * 16 * 8, 4 * 16 * 16 * 8)
        assert layer.receptive_field == layers["first"].receptive_field == 3

    def test_memory(self) -> None:
        """As swish, which saves the same."""
        assert inference_peak(graph()) == inference_peak(graph("swish"))
        assert training_peak(graph(), frozen=()) == training_peak(graph("swish"), frozen=())


def test_print(model: Network) -> None:
    assert "all of it" in str(model)
    assert str(model) == str(Network(graph("relu"), "new"))


def test_compile_refuses(model: Network) -> None:
    with pytest.raises(ValueError, match=r"compile: first_act \(hard_swish\) stands where plans cannot take it"):
        epcore.compile(model)


class TestOnnx:
    @pytest.mark.parametrize("fold_batch_norm", [True, False])
    def test_same_maps(self, fold_batch_norm: bool, model: Network, x: np.ndarray) -> None:
        pytest.importorskip("onnx", reason="onnx is not installed")
        runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        from epcore.export.onnx import onnx_model

        proto = onnx_model(model, fold_batch_norm=fold_batch_norm)
        assert [node.op_type for node in proto.graph.node].count("HardSwish") == 2
        session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        exact, bounds = outputs_and_bounds(model, x)
        assert np.abs(session.run(["y"], {"x": x})[0] - exact["y"]).max() <= bounds["y"]

    def test_without_a_counterpart(self, model: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("onnx", reason="onnx is not installed")
        from epcore.export.onnx import onnx_model

        monkeypatch.setitem(OPS, NAME, dataclasses.replace(OPS[NAME], onnx=None))
        with pytest.raises(ValueError, match="first_act: operator hard_swish has no counterpart in the export"):
            onnx_model(model)


class TestPort:
    def test_operators(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`epcore vectors --operators` and `epcore diff`: a right port, and one that computes swish."""
        golden, port = (str(tmp_path / name) for name in ("golden.npz", "port.npz"))
        assert run(capsys, "vectors", "--operators", "--output", golden)[0] == 0
        arrays = read_vectors(golden).arrays
        assert {f"cases/{NAME}/0/{name}" for name in ("x", "y", "dy", "dx")} <= arrays.keys()
        write_vectors(port, Vectors(arrays))
        assert run(capsys, "diff", port, "--vectors", golden)[0] == 0
        x = arrays[f"cases/{NAME}/0/x"].astype(np.float64)
        arrays[f"cases/{NAME}/0/y"] = (x / (1 + np.exp(-x))).astype(np.float32)
        write_vectors(port, Vectors(arrays))
        code, text = run(capsys, "diff", port, "--vectors", golden)
        assert code == 1
        assert f"{NAME}/0 ((2,4,3,5)): y is wrong" in text
        assert "cause: activation: swish, x sigmoid(x)\n     right: the activation here is hard swish" in text

    @pytest.mark.parametrize("planted", [None, "first_act", "second_act"])
    def test_network(self, planted: str | None, model: Network, x: np.ndarray) -> None:
        vectors = network_vectors(model, x)
        assert [layer["name"] for layer in vectors.manifest["layers"] if layer["op"] == NAME] == ["first_act", "second_act"]
        assert "layer_gradients/first_act" in vectors.arrays
        double = {name: array.astype(np.float64) for name, array in model.parameters.items()}
        setting = Setting(model.graph, double, x.astype(np.float64))
        mistake = {planted: lambda x: np.clip(x, 0, 6)} if planted else {}
        port = {name: y.astype(np.float32) for name, y in setting.computing(mistake).evaluate(model.graph.nodes).items()}
        rounding = {layer["name"]: layer["rounding"] for layer in vectors.manifest["layers"]}
        report = find_divergences(setting, port, {}, rounding)
        if planted is None:
            assert report.agrees
            return
        (found,) = report.divergences
        assert found.layer == planted
        assert (found.causes[0].title, found.causes[0].exact) == ("activation: ReLU6", True)
        assert found.causes[0].hint == "the activation here is hard swish"

    def test_readiness(self, model: Network, x: np.ndarray) -> None:
        report = assess(device_network(model), [x[:1], x[1:]])
        layers = {layer.name: layer for layer in report.layers if layer.op == NAME}
        assert layers.keys() == {"first_act", "second_act"}
        for layer in layers.values():
            assert 0 < layer.total[FLOAT16].relative < layer.total[INT8].relative < 1
        assert not [finding for finding in find(report) if finding.layer in layers]
        assert "first_act" in layers_text(report)
        assert half_text(report, find(report)) and int8_text(report)


class TestExercise:
    def check(self, answer: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        return run(capsys, "exercise", NAME, "--check", str(answer))

    def test_stub(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = tmp_path / "answer.py"
        assert run(capsys, "exercise", NAME, "--output", str(answer))[0] == 0
        text = answer.read_text(encoding="utf-8")
        assert "y = x * clip(x + 3, 0, 6) / 6" in text and "saved (x,)" in text
        assert "2 * x + 3" not in text
        code, said = self.check(answer, capsys)
        assert code == 1 and "still to be written" in said

    def test_right(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, said = self.check(FILE, capsys)
        assert code == 0 and said.startswith("right: all gradients of hard_swish, in 3 cases")

    @pytest.mark.parametrize(
        ("gradient", "message"),
        [
            ("dy * np.clip(x + 3, 0, 6) / 6", "of its values are wrong, all of them where x < 3;"),
            ("-dy * np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6))", "dx: the right one with the wrong sign"),
            ("dy", "dx: dy as it is"),
        ],
    )
    def test_wrong(self, gradient: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = tmp_path / "answer.py"
        answer.write_text(f"import numpy as np\ndef backward(dy, saved):\n    (x,) = saved\n    return ({gradient},)\n")
        code, said = self.check(answer, capsys)
        assert code == 1 and message in said


class TestDoctor:
    def test_right(self) -> None:
        assert run_check("cpu", NAME).endswith("of its bound, all of the reference: there is no kernel")

    @pytest.mark.parametrize("function", ["forward", "backward"])
    def test_a_fault_is_noticed(self, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
        module = import_module(f"epcore.ops.{NAME}")
        right = getattr(module, function)

        def wrong(first: Any, *rest: Any) -> Any:
            found = right(first, *rest)
            return (found[0] * np.float32(1 + 2.0**-11), *found[1:])

        monkeypatch.setattr(module, function, wrong)
        with pytest.raises(WrongError, match=r"^(y|dx) of .* away from the reference"):
            run_check("cpu", NAME)


def test_gradcheck_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "gradcheck", "--only", "ops", "--json", str(tmp_path / "errors.json"))[0] == 0
    assert NAME in json.loads((tmp_path / "errors.json").read_text())["ops"]


def test_nothing_else_knows_it() -> None:
    """Neither the package nor the tests' own tables name the operator; a mistake of that name is one that ports make."""
    package = Path(epcore.__file__).parent
    places = [*package.rglob("*.py"), Path(__file__).parent.parent / "tolerances.py"]
    assert not [path for path in places if NAME in path.read_text(encoding="utf-8")]
