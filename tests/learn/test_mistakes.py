"""Solutions with one mistake planted: each is seen, and what is said points at it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from solved import SOLUTIONS, solved

from epcore.cli import main
from epcore.learn.course import chosen, stages
from epcore.learn.cuda.program import compiler
from epcore.learn.folder import Folder
from epcore.models.variants import SHIPPED_WEIGHTS


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return solved(tmp_path_factory.mktemp("mistakes"))


def found(course: Folder, key: str, right: str, wrong: str) -> str:
    """What is said of the solution with `wrong` in the place of `right`; "" where it passes."""
    (exercise,) = chosen(key)
    if exercise.stage == "cuda" and compiler() is None:
        pytest.skip("there is no g++")
    place: Path = course.path / exercise.file
    source = place.read_text(encoding="utf-8")
    assert source.count(right) >= 1, f"{right!r} is not in the solution"
    try:
        place.write_text(source.replace(right, wrong), encoding="utf-8")
        verdict = course.check(exercise)
    finally:
        place.write_text(source, encoding="utf-8")
    assert verdict.passed is not bool(verdict.findings)
    return "\n".join(map(str, verdict.findings))


@pytest.mark.parametrize(
    ("key", "right", "wrong", "message"),
    [
        ("forward/conv2d", "total // 2, total - total // 2", "total - total // 2, total // 2", "right in 1x1 stride 1, 4x5"),
        ("forward/conv2d", "if b is not None:", "if False:", "y: "),
        ("forward/batch_norm", "variance + epsilon", "variance", "y: 100% of its values are wrong"),
        ("forward/avg_pool", ".mean((2, 4))", ".sum((2, 4))", "it is 4 times what it should be"),
        ("forward/max_pool", "constant_values=-np.inf", "constant_values=0", "y: "),
        ("backward/swish", "1 + x * (1 - s)", "1 - x * (1 - s)", "dx"),
        ("backward/swish", "    s = sigmoid(x)\n    return (dy", "    return (dy", "ops/swish.py:15: backward: "),
        ("backward/swish", "(x,) = saved", "x = saved[0", "ops/swish.py:14: "),
        ("tape/tape", "gradient if earlier is None else earlier + gradient", "gradient", "its gradients are added"),
        (
            "tape/tape",
            "gradient if earlier is None else earlier + gradient",
            "gradient if earlier is None else earlier.__iadd__(gradient)",
            "what is added to in place",
        ),
        ("tape/tape", "self.records.pop()", "self.records.pop(0)", "expected an array"),
        ("tape/tape", "**attributes)\n        output", ")\n        output", "missing 1 required keyword-only argument"),
        ("tape/tape", 'raise RuntimeError("backward was called already")', "return", "it raised nothing"),
        ("tape/tape", "self.alive = []", "self.alive = list(self.records)", "still held"),
        ("network/mbconv", "stride=stride)", "stride=1)", "it has shape"),
        ("network/mbconv", "y = call(activation, batch_norm(call, y, p, f\"{name}.bn\", training))",
         "y = batch_norm(call, y, p, f\"{name}.bn\", training)", "is high.block1a.activation, after high.block1a.bn"),
        ("network/mbconv", 'call("add", y, x) if residual else y', "y", "high.block2b"),
        ("network/rt", 'call("concat", out2, out1)', 'call("concat", out1, out2)', "pass1.block1.mbconv2.dense"),
        ("network/rt", 'return {**outputs, "upscaled": y}', "return outputs", "expected a mapping with pafs"),
        ("training/step", "- rate * gradient", "+ rate * gradient", "-1 times what it should be"),
        ("training/step", "moved = dict(p)", "moved = p", "changed the parameters it was given"),
        ("training/step", "training=True", "training=False", "the loss of the first step"),
        ("training/memory", "owners[id(array)] = array.nbytes", "owners[len(owners)] = array.nbytes",
         "saved twice: 348, expected 188"),
        ("training/memory", "while isinstance(array.base, np.ndarray):", "while False:", "a view of an array: "),
        ("port/mend", 'attributes["epsilon"]', "1e-5", "batch norm with epsilon 1e-05"),
        ("port/mend", "np.concatenate(inputs, axis=-1)", "np.concatenate(inputs[::-1], axis=-1)", "diverges"),
        ("port/mend", 'if name != "input"}', 'if name[:3] == "low"}', "did not return a map of high.stem_conv"),
        ("pose/decode", "cell % W + 0.5", "cell % W", "points: "),
        ("pose/decode", "[(cell % W + 0.5) / W, (cell // W + 0.5) / H]", "[(cell // W + 0.5) / H, (cell % W + 0.5) / W]",
         "x and y are exchanged"),
        ("pose/decode", "scores < 0.3", "scores <= 0.3", "keypoint 1, score 0.3, is [nan nan], expected a place"),
        ("pose/decode", "scores < 0.3", "scores < 0", "expected NaN, NaN"),
        ("pose/decode", "flat.argmax(0)", "len(flat) - 1 - flat[::-1].argmax(0)", "equal peaks"),
        ("pose/pckh", "hits[annotated]", "hits", "tau 0.5"),
        ("pose/pckh", "0.6 * np.hypot", "np.hypot", "tau 0.5"),
        ("pose/pckh", "hits[annotated].mean()", "hits[annotated & ~np.isnan(distances)].mean()", "tau 0.5"),
        ("numba/swish", "@numba.njit(fastmath=True)", "", "nothing in the file was compiled"),
        ("numba/depthwise", "0 <= g < W", "0 < g < W", "of its values are wrong"),
        ("numba/pointwise", "w.shape[1]), np.float32)", "w.shape[1]), np.float64)", "y is float64, expected float32"),
        ("cuda/column_sums", "__syncthreads();", "", "missing barrier: "),
        ("cuda/swish", "i < n; i += threads", "i <= n; i += threads", "cuda/swish.cu:15: out of bounds"),
    ],
)  # fmt: skip
def test_mistakes_are_seen(key: str, right: str, wrong: str, message: str, course: Folder) -> None:
    assert message in found(course, key, right, wrong)


def test_the_network_stage_runs_the_students_operators(course: Folder) -> None:
    """A wrong operator is seen there too: nothing of epcore's stands in its place."""
    place = course.path / "ops" / "swish.py"
    source = place.read_text(encoding="utf-8")
    try:
        place.write_text(source.replace("return x * sigmoid(x)", "return x"), encoding="utf-8")
        (exercise,) = chosen("network/rt")
        findings = course.check(exercise).findings
    finally:
        place.write_text(source, encoding="utf-8")
    assert "high.stem_activation, after high.stem_bn" in findings[0].message


def test_the_broken_port_names_its_mistakes(course: Folder) -> None:
    (exercise,) = chosen("port/mend")
    (course.path / exercise.file).write_text(exercise.starter, encoding="utf-8")
    try:
        said = [finding.message for finding in course.check(exercise).findings]
    finally:
        (course.path / exercise.file).write_bytes((SOLUTIONS / exercise.file).read_bytes())
    causes = (
        "padded by half the kernel",
        "epsilon 1e-05",
        "padded",
        "activation: swish",
        "inside squeeze-excite",
        "border of the",
    )
    assert len(said) == len(causes)
    assert all(cause in message for cause, message in zip(causes, said, strict=True))


@pytest.mark.parametrize("mended", [False, True])
def test_the_ports_commands_as_the_stage_gives_them(
    mended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (exercise,) = chosen("port/mend")
    source = (SOLUTIONS / exercise.file).read_text(encoding="utf-8") if mended else exercise.starter
    Path("port.py").write_text(source, encoding="utf-8")
    models = SHIPPED_WEIGHTS["RT"].parent
    commands = [line[4:] for line in stages()["port"].text.splitlines() if re.match("    (epcore|python) ", line)]
    assert len(commands) == 4
    codes = []
    for command in commands:
        program, *words = re.split(" {3,}", command)[0].replace("EPCORE/models", str(models)).split()
        if program == "python":
            codes.append(subprocess.run([sys.executable, *words], check=False).returncode)
        else:
            codes.append(main(words))
    assert codes == [0, 0, 0, 0 if mended else 1]
    assert ("144 agree" in capsys.readouterr().out) is mended
