"""The diagnosis: planted mistakes are named and none is named wrongly, right answers are right, whatever their manner."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planted import PLANTED, Planted, check, verdict
from solutions import solution

import epcore
from epcore.exercise.diagnose import Diagnosis, Finding, diagnose
from epcore.exercise.report import report
from epcore.exercise.sandbox import TOOLS, Limits
from epcore.ops import OPS

OPERATORS = Path(epcore.__file__).parent / "ops"
NOT_EXPLAINED = {"capped gradient instead of capped activation", "u and v mixed up"}  # two mistakes in one; ends in an error


def of(op: str, source: str, tmp_path: Path) -> Diagnosis:
    path = tmp_path / "answer.py"
    path.write_text(f"import numpy as np\n{source}", encoding="utf-8")
    return diagnose(op, path, limits=Limits(seconds=2))


def only(diagnosis: Diagnosis) -> Finding:
    (finding,) = diagnosis.findings
    return finding


@pytest.mark.parametrize("planted", PLANTED, ids=[f"{each.op}-{each.what}" for each in PLANTED])
def test_planted_mistakes(planted: Planted, tmp_path: Path) -> None:
    diagnosis = check(planted, tmp_path)
    assert verdict(planted, diagnosis) == ("not explained" if planted.what in NOT_EXPLAINED else "named"), report(diagnosis)
    assert report(diagnosis).startswith(f"not yet: {planted.op}\n")


def test_there_are_enough_of_them() -> None:
    assert len(PLANTED) >= 60 and len({each.op for each in PLANTED}) >= 12
    assert sum(not each.word for each in PLANTED) >= 20
    assert len(PLANTED) - len(NOT_EXPLAINED) >= len(PLANTED) * 5 / 6
    assert len({(each.op, each.source) for each in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize("op", OPS)
def test_right_answers_of_a_student(op: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(solution(op))
    diagnosis = diagnose(op, tmp_path / "a.py")
    assert diagnosis.findings == ()
    assert report(diagnosis) == f"right: all gradients of {op}, in {len(diagnosis.cases)} cases"


@pytest.mark.parametrize("op", OPS)
def test_shipped_answers(op: str) -> None:
    tools = [*TOOLS, *(f"epcore.ops.{each}" for each in ("sigmoid", "swish", "eswish", "relu"))]
    assert diagnose(op, OPERATORS / f"{op}.py", tools=tools).findings == ()


SWISH = """
def backward(dy, saved):
    (x,) = saved
    s = 1 / (1 + np.exp(-x))
    dx = dy * s * (1 + x * (1 - s))
    {}
"""


class TestWhatIsNoGradient:
    """What can be said without a look at the values: a line each."""

    @pytest.mark.parametrize(
        ("statement", "text"),
        [
            ("return dx", "it returned an array of shape (3, 5, 4, 7), expected a tuple of 1: x"),
            ("return [dx]", "it returned of type list, expected a tuple of 1: x"),
            ("return None", "it returned None, expected a tuple of 1: x"),
            ("return dx, dx", "it returned 2 values, expected a tuple of 1: x"),
            ("return (1.5,)", "it is of type float, expected an array of shape (3, 5, 4, 7)"),
            ("return ({1},)", "it is of type set, expected an array of shape (3, 5, 4, 7)"),
            ("return (dx * 1j,)", "it is of type array of complex128, expected an array of shape (3, 5, 4, 7)"),
            ("return (dx.astype(int),)", "it is of dtype int64, expected float64, that of dy"),
            ("return (dx.sum(0),)", "it has shape (5, 4, 7), expected (3, 5, 4, 7)"),
            ("return (dx[..., None],)", "expected (3, 5, 4, 7): it is right once it is summed over axis 4"),
            ("return (dx.ravel(),)", "it has shape (420,), expected (3, 5, 4, 7): its values are right, in another shape"),
            ("dx[0, 1] = np.nan; return (dx,)", "28 of its 420 values are NaN or infinite, the first at (0, 1, 0, 0)"),
            ("return (dx / 0,)", "420 of its 420 values are NaN or infinite"),
            ("raise NotImplementedError", "backward is still to be written, line 7: raise NotImplementedError"),
            ("return (dz,)", "it stopped with NameError: name 'dz' is not defined, line 7: return (dz,)"),
            ("import sys; sys.exit(0)", "it asked Python to exit, so that nothing could be checked, line 7: import sys"),
            ("import os; os._exit(0)", "it ended the process, with exit code 0, before it answered"),
            ("while True: pass", "it was not done after 2 s and was stopped in line 7: while True: pass"),
            ("from epcore.ops import swish; return swish.backward(dy, saved)", "epcore.ops.swish is epcore's own"),
            ("dy *= 2; return (dx,)", "it changed dy in place: others still need it"),
            ("x -= 1; return (dx,)", "it changed x in place: others still need it"),
        ],
    )
    def test_is_said(self, statement: str, text: str, tmp_path: Path) -> None:
        diagnosis = of("swish", SWISH.format(statement), tmp_path)
        assert text in only(diagnosis).text
        assert not only(diagnosis).exact and len(only(diagnosis).cases) == len(diagnosis.cases)
        assert "not yet: swish\n" in report(diagnosis)

    def test_right_in_float32(self, tmp_path: Path) -> None:
        found = only(of("swish", SWISH.format("return (dx.astype(np.float32),)"), tmp_path))
        assert (
            found.text
            == "it is of dtype float32, dy and what forward saved are float64; to the rounding of float32 it is right"
        )

    def test_wrong_in_float32(self, tmp_path: Path) -> None:
        found = of("swish", SWISH.format("return ((3 * dx).astype(np.float32),)"), tmp_path).findings
        assert [each.text for each in found] == [
            "it is of dtype float32, dy and what forward saved are float64",
            "3 times the right one",
        ]

    def test_float32_on_the_way_is_no_factor(self, tmp_path: Path) -> None:
        found = only(of("swish", SWISH.format("return (dx.astype(np.float32).astype(float),)"), tmp_path))
        assert found.text.startswith("it is right to 7 digits only") and found.located and not found.exact

    def test_another_inputs_gradient(self, tmp_path: Path) -> None:
        source = "def backward(dy, saved):\n    x, a = saved\n    d = np.where(x > 0, dy, a * dy)\n    return d, d\n"
        assert "dalpha" not in only(of("prelu", source, tmp_path)).text
        assert "it has shape (3, 5, 4, 7), expected (7,): this is the gradient of x" in only(of("prelu", source, tmp_path)).text

    def test_sums_that_are_missing(self, tmp_path: Path) -> None:
        source = "def backward(dy, saved):\n    x, a = saved\n    return np.where(x > 0, dy, a * dy), dy * np.minimum(x, 0)\n"
        found = only(of("prelu", source, tmp_path))
        assert found.inputs == ("alpha",)
        assert "it is right once it is summed over samples, rows, columns" in found.text

    def test_reversed_gradients_are_no_missing_sum(self, tmp_path: Path) -> None:
        source = "def backward(dy, saved):\n    return tuple(reversed(np.split(dy, np.cumsum(saved)[:-1], axis=-1)))\n"
        assert only(of("concat", source, tmp_path)).text == "its gradients are right, and come in reverse order"

    def test_all_is_said_not_the_first(self, tmp_path: Path) -> None:
        source = (
            solution("batch_norm")
            .replace("dbeta = dy.sum", "dbeta = 5 * dy.sum")
            .replace("return dx, dgamma", "return -dx, dgamma.sum()")
        )
        texts = {each.inputs: each.text for each in of("batch_norm", source, tmp_path).findings}
        assert texts[("beta",)] == "5 times the right one" and texts[("x",)] == "the right one with the wrong sign"
        assert texts[("gamma",)].startswith("it has shape (), expected (7,)") or "float" in texts[("gamma",)]

    def test_a_case_of_its_own(self, tmp_path: Path) -> None:
        source = SWISH.format("if len(x) == 1: raise RuntimeError('one')\n    return (dx,)")
        diagnosis = of("swish", source, tmp_path)
        assert only(diagnosis).cases == ("(1,7,3,5)",) and diagnosis.right == ("x",)


@pytest.mark.parametrize(
    ("op", "change", "text"),
    [
        ("avg_pool", ("dy[:, i : i + 1", "2 * dy[:, i : i + 1"), "2 times the right one"),
        ("max_pool", ("] += dy", "] += 2 * dy"), "2 times the right one"),
        ("conv2d", ("dw += np", "dw += 2 * np"), "2 times the right one"),
        ("mse", ("2 * (", "4 * ("), "2 times the right one"),
        (
            "batch_norm",
            ("dmean = -dz", "dmean = -3 * dz"),
            "the term through the mean of the batch is 3 times what it should be",
        ),
    ],
)
def test_a_plain_factor_is_nobodys_size(op: str, change: tuple[str, str], text: str, tmp_path: Path) -> None:
    assert change[0] in solution(op)
    assert only(of(op, solution(op).replace(*change), tmp_path)).text == text


class TestOnlySomeCases:
    def test_stride(self, tmp_path: Path) -> None:
        source = solution("depthwise_conv2d").replace("    return dx, dw", "    return dx, dw * (1 if stride == 1 else 3)")
        found = only(of("depthwise_conv2d", source, tmp_path))
        assert (found.text, found.clause) == ("3 times the right one", "with stride 2")
        assert all("stride 2" in label for label in found.cases) and all("stride 1" in label for label in found.right)

    def test_batch(self, tmp_path: Path) -> None:
        source = solution("batch_norm").replace("    return dx", "    if N > 1: dbeta = dbeta * 3\n    return dx")
        assert only(of("batch_norm", source, tmp_path)).clause == "with a batch of more than 1"

    def test_sizes(self, tmp_path: Path) -> None:
        source = solution("avg_pool").replace("    return (dx,)", "    return (dx * (3 if shape[1] % 2 else 1),)")
        assert only(of("avg_pool", source, tmp_path)).clause == "with an odd number of rows"

    def test_explained_case_by_case(self, tmp_path: Path) -> None:
        source = solution("depthwise_conv2d").replace("    return dx, dw", "    return dx * (-1 if stride == 1 else 3), dw")
        found = of("depthwise_conv2d", source, tmp_path).findings
        assert [(each.text, len(each.cases)) for each in found] == [
            ("the right one with the wrong sign", 2),
            ("3 times the right one", 3),
        ]


class TestNothingIsGuessed:
    """Values that no explanation gives: it is said where they are, and no more."""

    @pytest.mark.parametrize("op", OPS)
    def test_noise(self, op: str, tmp_path: Path) -> None:
        source = solution(op).replace("def backward(", "def right(") + (
            "\n\ndef backward(dy, saved, **attributes):\n"
            "    rng = np.random.default_rng(5)\n"
            "    return tuple(None if d is None else d + rng.normal(size=d.shape) for d in right(dy, saved, **attributes))\n"
        )
        diagnosis = of(op, source, tmp_path)
        assert diagnosis.findings and not diagnosis.right
        assert all(
            each.located and not each.exact and "100% of its values are wrong" in each.text for each in diagnosis.findings
        )

    def test_a_place_is_said(self, tmp_path: Path) -> None:
        source = SWISH.format("dx[:, -1] += np.random.default_rng(1).normal(size=dx[:, -1].shape)\n    return (dx,)")
        found = only(of("swish", source, tmp_path))
        assert found.located and "all of them in the last of its rows" in found.text

    def test_almost_is_not_exact(self, tmp_path: Path) -> None:
        """A factor of nearly 2: neither 2 nor anything else that has a name."""
        found = only(of("swish", SWISH.format("return (2.00001 * dx,)"), tmp_path))
        assert found.located and not found.exact

    def test_noise_of_rounding_hides_nothing_and_makes_nothing_wrong(self, tmp_path: Path) -> None:
        source = solution("conv2d").replace("    return dx", "    dx = dx * (1 + 1e-14)\n    return dx")
        assert of("conv2d", source, tmp_path).findings == ()


def test_one_mistake_has_one_name(tmp_path: Path) -> None:
    """Of several inputs, whatever else would do for one of them alone."""
    source = solution("squeeze_excite").replace("dg * g * (1 - g)", "dg")
    found = only(of("squeeze_excite", source, tmp_path))
    assert found.inputs == ("x", "w_reduce", "b_reduce", "w_expand", "b_expand")


def test_what_the_code_prints_comes_first(tmp_path: Path) -> None:
    text = report(of("swish", SWISH.format("print('here'); return (dx,)"), tmp_path))
    assert text == "your code printed:\nhere\nhere\nhere\n\nright: all gradients of swish, in 3 cases"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def backward(", "does not run: it stopped with SyntaxError"),
        ("import sys\nsys.exit()", "does not run: it asked Python to exit, so that nothing could be checked, line 3"),
        ("raise SystemExit(0)", "does not run: it asked Python to exit"),
        ("while True: pass", "does not run: it was not done after 2 s and was stopped in line 2"),
        ("x = 1", "has no function backward"),
    ],
)
def test_files_that_do_not_run(source: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        of("swish", source, tmp_path)


def test_the_right_gradients_are_not_in_the_students_process(tmp_path: Path) -> None:
    """It gets dy and what forward saved, and nothing that tells what is right."""
    source = """
import gc
def backward(dy, saved):
    (x,) = saved
    s = 1 / (1 + np.exp(-x))
    right = dy * s * (1 + x * (1 - s))
    held = [a for a in gc.get_objects() if isinstance(a, np.ndarray) and a is not right and a.shape == right.shape]
    assert not any(np.allclose(a, right) for a in held)
    return (right,)
"""
    assert of("swish", source, tmp_path).findings == ()
