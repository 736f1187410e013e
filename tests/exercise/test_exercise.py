"""Exercises: stubs that give nothing away, solutions that pass, mistakes that are named."""

from __future__ import annotations

from pathlib import Path

import pytest

import epcore
from epcore.cli import main
from epcore.exercise.stub import stub
from epcore.ops import OPS

ROOT = Path(epcore.__file__).parent / "ops"


def check(op: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path = tmp_path / "answer.py"
    path.write_text(source)
    code = main(["exercise", op, "--check", str(path)])
    return code, "".join(capsys.readouterr())


@pytest.mark.parametrize("op", OPS)
def test_shipped_solution_passes(op: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exercise", op, "--check", str(ROOT / f"{op}.py")]) == 0
    assert capsys.readouterr().out.startswith("right")


@pytest.mark.parametrize("op", OPS)
def test_stub_is_python_and_says_that_it_is_empty(op: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compile(stub(op), op, "exec")
    code, text = check(op, stub(op), tmp_path, capsys)
    assert code == 1
    assert "still to be written" in text


def test_stub_does_not_give_the_derivative_away() -> None:
    for op, secret in (("swish", "1 - s"), ("batch_norm", "dbeta / M"), ("squeeze_excite", "dm / (H*W)"), ("conv2d", "db[o]")):
        assert secret in OPS[op].page.derivation
        assert secret not in stub(op)
    assert "y = x * s,  s = sigmoid(x)" in stub("swish")


def test_stub_quotes_what_forward_saves() -> None:
    assert "saved (x, w_reduce, w_expand, m, t, g)\n" in stub("squeeze_excite")
    assert "saved (x.shape,)\n" in stub("global_mean")
    assert "saved ()\n" in stub("add")


SWISH = """
import numpy as np
def backward(dy, saved):
    (x,) = saved
    s = 1 / (1 + np.exp(-x))
    return ({},)
"""
BATCH_NORM = """
import numpy as np
def backward(dy, saved, *, epsilon=1e-3, training=False):
    x, gamma, mean, variance = saved
    M = x.size / x.shape[-1]
    r = 1 / np.sqrt(variance + epsilon)
    z = (x - mean) * r
    dbeta, dgamma = dy.sum((0, 1, 2)), (dy * z).sum((0, 1, 2))
    dx = {} if training else gamma * r * dy
    return dx, dgamma, dbeta, None, None
"""
DEPTHWISE = """
import numpy as np
from epcore.ops import depthwise_conv2d
def backward(dy, saved, *, stride=1):
    dx, dw = depthwise_conv2d.backward(dy, saved, stride=stride)
    return {}, {}
"""
MEAN = """
import numpy as np
def backward(dy, saved):
    (shape,) = saved
    return (np.broadcast_to(dy, shape).copy(),)
"""


@pytest.mark.parametrize(
    ("op", "source", "message"),
    [
        ("swish", SWISH.format("-dy * s * (1 + x * (1 - s))"), "the sign is wrong"),
        ("swish", SWISH.format("s * (1 + x * (1 - s))"), "the chain rule also multiplies by dy"),
        ("swish", SWISH.format("2 * dy * s * (1 + x * (1 - s))"), "2 times the right one"),
        ("swish", SWISH.format("dy * s"), "of the entries are wrong"),
        ("swish", SWISH.format("(dy * s).sum()"), "has shape (), expected (2, 4, 3, 5)"),
        ("swish", SWISH.format("dy * np.nan"), "NaN"),
        ("batch_norm", BATCH_NORM.format("gamma * r * (dy - z * dgamma / M)"), "moves the mean of the batch"),
        ("batch_norm", BATCH_NORM.format("gamma * r * (dy - dbeta / M)"), "moves the variance of the batch"),
        ("batch_norm", BATCH_NORM.format("gamma * r * dy"), "this is inference"),
        ("depthwise_conv2d", DEPTHWISE.format("np.roll(dx, 1, axis=1)", "dw"), "shifted by one along the height"),
        ("depthwise_conv2d", DEPTHWISE.format("dx", "dw[::-1, ::-1]"), "turned by 180 degrees"),
        ("global_mean", MEAN, "height * width: a division by it is missing"),
        ("add", "def backward(dy, saved):\n    return dy", "returned ndarray, expected a tuple of 2: a, b"),
        ("swish", "def backward(dy, saved):\n    return 1 / 0", "stopped with ZeroDivisionError"),
        ("swish", "def backward(dy, saved):\n    dy *= 2\n    return (dy,)", "changed dy"),
    ],
)
def test_typical_mistakes_are_named(
    op: str, source: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = check(op, source, tmp_path, capsys)
    assert code == 1
    assert message in text


class TestCommand:
    def test_writes_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["exercise", "swish"]) == 0
        (tmp_path / "swish_exercise.py").write_text("my work")
        assert main(["exercise", "swish"]) == 2
        assert (tmp_path / "swish_exercise.py").read_text() == "my work"
        assert "exists" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [(["sinh"], "unknown operator 'sinh'"), (["swish", "--check", "nothing.py"], "no file nothing.py")],
    )
    def test_errors(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["exercise", *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_file_that_does_not_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, text = check("swish", "def backward(", tmp_path, capsys)
        assert code == 2
        assert "does not run: SyntaxError" in text
        code, text = check("swish", "x = 1", tmp_path, capsys)
        assert code == 2
        assert "no function backward" in text
