"""Every gradient within its bound, and a checker that catches wrong ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epcore import gradcheck
from epcore.cli import main
from epcore.gradcheck import NETWORK_BOUND, Case, NetworkCheck, cases, check_case, networks
from epcore.models import EfficientPose
from epcore.op import Op
from epcore.ops import OPS

ALL = list(cases())


@pytest.mark.parametrize("case", ALL, ids=[f"{case.op}-{case.label}" for case in ALL])
def test_operator(case: Case) -> None:
    for result in check_case(case):
        assert result.passed, result


def test_every_operator_and_input_is_covered() -> None:
    covered = {(case.op, index) for case in ALL for index in case.checked}
    assert {case.op for case in ALL} == set(OPS)
    assert covered == {(op.name, i) for op in OPS.values() for i in op.differentiable(op.arity or 3)}


@pytest.mark.parametrize("name", ["EfficientPose RT", "EfficientPose I", "EfficientPose II", "OpenPose"])
def test_network_along_one_direction(name: str) -> None:
    assert networks()[name]().together() <= NETWORK_BOUND


def test_network_every_parameter_of_rt() -> None:
    check = NetworkCheck(EfficientPose("RT"), 32)
    errors = dict(check.each())
    assert errors.keys() == set(check.model.trainable())
    assert len(errors) == 188
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= NETWORK_BOUND, worst


def test_network_check_leaves_the_model_as_it_was() -> None:
    check = NetworkCheck(EfficientPose("RT"), 32)
    before = {name: array.copy() for name, array in check.model.parameters.items()}
    check.together()
    assert all(np.array_equal(check.model.parameters[name], array) for name, array in before.items())


class TestCatchesWrongGradients:
    """Each planted mistake is one that is made; the check of that operator has to fail."""

    @staticmethod
    def fails(op: str, backward: Callable[..., Any]) -> bool:
        planted: Op = dataclasses.replace(OPS[op], backward=backward)
        return any(not result.passed for case in ALL if case.op == op for result in check_case(case, planted))

    def test_control(self) -> None:
        for op in ("swish", "batch_norm", "depthwise_conv2d"):
            assert not self.fails(op, OPS[op].backward)

    def test_sign(self) -> None:
        assert self.fails("swish", lambda dy, saved: (-OPS["swish"].backward(dy, saved)[0],))

    def test_batch_norm_without_the_mean(self) -> None:
        def backward(dy: Any, saved: Any, *, training: bool, epsilon: float = 1e-3) -> Any:
            dx, dgamma, dbeta, *rest = OPS["batch_norm"].backward(dy, saved, training=training, epsilon=epsilon)
            x, gamma, _, variance = saved
            if training:
                dx = dx + gamma / np.sqrt(variance + epsilon) * dbeta / (x.size / x.shape[-1])
            return dx, dgamma, dbeta, *rest

        assert self.fails("batch_norm", backward)

    def test_batch_norm_without_the_variance(self) -> None:
        def backward(dy: Any, saved: Any, *, training: bool, epsilon: float = 1e-3) -> Any:
            dx, dgamma, dbeta, *rest = OPS["batch_norm"].backward(dy, saved, training=training, epsilon=epsilon)
            x, gamma, mean, variance = saved
            if training:
                z = (x - mean) / np.sqrt(variance + epsilon)
                dx = dx + gamma / np.sqrt(variance + epsilon) * z * dgamma / (x.size / x.shape[-1])
            return dx, dgamma, dbeta, *rest

        assert self.fails("batch_norm", backward)

    def test_padding_off_by_one(self) -> None:
        def backward(dy: Any, saved: Any, *, stride: int) -> Any:
            x, w = saved
            dx, _ = OPS["depthwise_conv2d"].backward(dy, saved, stride=stride)
            _, dw = OPS["depthwise_conv2d"].backward(dy, (np.roll(x, 1, axis=1), w), stride=stride)
            return dx, dw

        assert self.fails("depthwise_conv2d", backward)

    def test_symmetric_padding_at_stride_2(self) -> None:
        """What a port that pads (1,1) instead of (0,1) computes."""

        def backward(dy: Any, saved: Any, *, stride: int) -> Any:
            dx, dw, db = OPS["conv2d"].backward(dy, saved, stride=stride)
            if stride == 2 and dx.shape[1] % 2 == 0:
                dx = np.roll(dx, -1, axis=1)
            return dx, dw, db

        assert self.fails("conv2d", backward)

    def test_missing_path_through_the_mean_of_squeeze_excite(self) -> None:
        def backward(dy: Any, saved: Any, *, activation: str) -> Any:
            gate = saved[5]
            return (dy * gate[:, None, None, :], *OPS["squeeze_excite"].backward(dy, saved, activation=activation)[1:])

        assert self.fails("squeeze_excite", backward)

    def test_nan(self) -> None:
        assert self.fails("sigmoid", lambda dy, saved: (dy * np.nan,))

    def test_in_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from epcore.ops import eswish

        right = eswish.backward
        monkeypatch.setattr(eswish, "backward", lambda dy, saved, beta=1.25: (right(dy, saved, beta=beta)[0] * 1.001,))
        assert NetworkCheck(EfficientPose("RT"), 32).together() > NETWORK_BOUND


class TestCommand:
    def test_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "errors.json"
        assert main(["gradcheck", "--only", "ops", "--json", str(path)]) == 0
        report = json.loads(path.read_text())
        assert report.keys() == {"ops", "models"}
        assert report["ops"].keys() == set(OPS)
        assert all(0 <= error <= gradcheck.OPERATOR_BOUND for error in report["ops"].values())
        assert "no bounds missed" in capsys.readouterr().out

    def test_exit_code_of_a_miss(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        wrong = dataclasses.replace(OPS["swish"], backward=lambda dy, saved: (dy,))
        monkeypatch.setitem(OPS, "swish", wrong)
        assert main(["gradcheck", "--only", "ops"]) == 1
        assert "MISSED" in capsys.readouterr().out

    def test_json_to_standard_output_is_json_only(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gradcheck", "--only", "ops", "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out)["models"] == {}
