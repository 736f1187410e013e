"""Exercises: stubs that give nothing away, and the command."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from PIL import Image
from solutions import solution

from epcore.cli import main
from epcore.exercise.diagnose import diagnose
from epcore.exercise.plot import draw
from epcore.exercise.stub import stub
from epcore.ops import OPS


def check(op: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path = tmp_path / "answer.py"
    path.write_text(source)
    code = main(["exercise", op, "--check", str(path)])
    return code, "".join(capsys.readouterr())


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

    def test_right(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert check("swish", solution("swish"), tmp_path, capsys) == (0, "right: all gradients of swish, in 3 cases\n")

    def test_wrong(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source = solution("batch_norm").replace("dx = dx + dmean / M", "pass")
        code, text = check("batch_norm", source, tmp_path, capsys)
        assert code == 1
        assert text.startswith(
            "not yet: batch_norm\n  dx (wrong in 3 of 6 cases): the term through the mean of the batch is missing\n"
        )
        assert "      wrong in: training, (3,5,4,7);" in text and "      right in: inference, (3,5,4,7);" in text
        assert text.endswith("  right: dgamma and dbeta\n")

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("def backward(", "does not run: it stopped with SyntaxError"),
            ("x = 1", "has no function backward"),
            ("import sys; sys.exit(0)", "does not run: it asked Python to exit, so that nothing could be checked, line 1"),
        ],
    )
    def test_file_that_does_not_run(
        self, source: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, text = check("swish", source, tmp_path, capsys)
        assert code == 2 and message in text and text.count("\n") == 1


class TestPlot:
    WRONG = solution("depthwise_conv2d").replace("0 <= h < H", "0 < h < H")

    def plot(self, source: str, output: str, tmp_path: Path) -> int:
        (tmp_path / "a.py").write_text(source)
        return main(["exercise", "depthwise_conv2d", "--check", str(tmp_path / "a.py"), "--plot", str(tmp_path / output)])

    def test_wrong_gradients_are_drawn(self, tmp_path: Path) -> None:
        assert self.plot(self.WRONG, "where.png", tmp_path) == 1
        with Image.open(tmp_path / "where.png") as picture:
            assert picture.format == "PNG" and picture.width >= 800

    def test_every_gradient_has_its_row(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text(self.WRONG)
        drawn = draw(diagnose("depthwise_conv2d", tmp_path / "a.py"), "svg").decode()
        one = draw(diagnose("depthwise_conv2d", self.only_x(tmp_path)), "svg").decode()
        assert drawn.count("<image") > one.count("<image") > 0

    def only_x(self, tmp_path: Path) -> Path:
        path = tmp_path / "b.py"
        path.write_text(solution("depthwise_conv2d").replace("return dx, dw", "return -dx, dw"))
        return path

    def test_nothing_is_drawn_where_all_is_right(self, tmp_path: Path) -> None:
        assert self.plot(solution("depthwise_conv2d"), "where.png", tmp_path) == 0
        assert not (tmp_path / "where.png").exists()

    @pytest.mark.parametrize(("output", "message"), [("a.py", "would overwrite"), ("x.txt", "ending in .png, .svg or .pdf")])
    def test_errors(self, output: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.plot(self.WRONG, output, tmp_path) == 2
        assert message in capsys.readouterr().err
        assert (tmp_path / "a.py").read_text() == self.WRONG

    def test_without_a_file_to_check(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["exercise", "swish", "--plot", "x.png"]) == 2
        assert "name the file to check" in capsys.readouterr().err


def test_without_an_operator_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exercise"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name} " in listed and op.page.title in listed for name, op in OPS.items())
    assert main(["exercise", "--check", "x.py"]) == 2
    assert "name the operator" in capsys.readouterr().err


@pytest.mark.parametrize("op", OPS)
def test_stub_holds_no_code_that_is_cut_off(op: str) -> None:
    tree = ast.parse(stub(op))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert [type(node) for node in function.body] == [ast.Raise]
