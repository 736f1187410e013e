"""`epcore kernel`: every operator and step is found where it is written, with the machine code that runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from families import executable, run
from places import ROOT

from epcore.backend import kernel_module
from epcore.cli import main
from epcore.inference.steps import kinds
from epcore.inference.steps.depthwise import STRIP
from epcore.kernels.cpu.processor import FUSED_MULTIPLY_ADD, LANES, PROCESSOR
from epcore.listing.compiled import operator_run, step_kernels
from epcore.listing.report import report
from epcore.ops import OPS

NUMPY = ("multiply",)  # whose kernel on the CPU is the reference
# Steps whose loops the C library runs, or of single numbers: every second of a row has to be fetched by itself without AVX-512.
NO_VECTORS = ("read", "frame") if LANES == 16 else ("read", "frame", "halve")
QUICK = ("swish", "relu", "add", "concat")
fused_x86 = pytest.mark.skipif(not (PROCESSOR.is_x86 and FUSED_MULTIPLY_ADD), reason="for x86 with multiply-add")


def _check_inner_loop(op: str) -> None:
    kernel, function = report(op, backend="cpu").functions()[0]
    assert kernel.use == "forward"
    assert function.hottest.depth > 0
    assert function.hottest.works
    assert function.hottest.loads + function.hottest.stores + function.hottest.arithmetic > 0


@pytest.mark.parametrize("op", QUICK)
def test_inner_loops(op: str) -> None:
    _check_inner_loop(op)


@pytest.mark.slow
@pytest.mark.parametrize("op", [op for op in OPS if op not in QUICK + NUMPY])
def test_other_inner_loops(op: str) -> None:
    """Compiled anew, which takes seconds each."""
    _check_inner_loop(op)


@pytest.mark.parametrize("op", OPS)
def test_places_are_where_the_functions_are(op: str) -> None:
    places = {(place.backend, place.file): place for place in report(op, backend="reference").places}
    places |= {(place.backend, place.file): place for place in report(op, backend="cuda").places}
    assert {backend for backend, _ in places} == {"reference", "cuda"}
    for place in places.values():
        lines = (ROOT / place.file).read_text().splitlines()
        for name, line in place.functions.items():
            assert line > 0, name
            assert f"{name}(" in lines[line - 1]


def test_watching_finds_the_kernels_of_both_directions() -> None:
    run = operator_run("depthwise_conv2d")
    assert [(kernel.use, kernel.name.rpartition(".cpu.")[2]) for kernel in run.kernels] == [
        ("forward", "depthwise_conv2d.correlate.run"),
        ("backward", "depthwise_conv2d._gather.run"),
        ("backward", "depthwise_conv2d._weight_gradient.run"),
        ("backward", "reduction.merge"),
    ]
    assert sys.getprofile() is None
    serial = [kernel for kernel in operator_run("squeeze_excite").kernels if kernel.name.endswith("squeeze_excite._product")]
    assert len(serial) == 1


def test_an_error_in_an_operator_ends_the_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(kernel_module("add", "cpu"), "forward", fail)
    with pytest.raises(RuntimeError, match="broken"):
        operator_run("add")
    assert sys.getprofile() is None


@pytest.mark.parametrize(("cpu", "strip", "rows"), [("haswell", 4, 2), ("skylake-avx512", 8, 1)])
def test_depthwise_sums_with_multiply_adds(cpu: str, strip: int, rows: int, tmp_path: Path) -> None:
    """The example is 5x5, stride 2: a kernel row of a strip is 5 multiply-adds for each of half a strip's pixels.

    strip: pixels of one. rows: of the window, that LLVM takes at once for this processor: for others it differs.
    """
    if why := executable()[cpu]:
        pytest.skip(why)
    result = run(cpu, tmp_path, "-m", "epcore", "kernel", "depthwise_conv2d", "--assembly")
    assert result.returncode == 0, result.stderr
    assert re.search(rf"strip +{strip} ", result.stdout)
    listing = result.stdout.partition("vector multiply-adds\n")[2]
    assert listing.count("vfmadd") == 5 * strip // 2 * rows
    assert "correlate" not in listing


@pytest.mark.slow
@fused_x86
def test_steps_of_depthwise_layers_unroll_the_window() -> None:
    """docs/kernels.md counts them: 3 rows of 3 taps for each pixel of a strip, every pixel of the window loaded once."""
    (kernel,) = step_kernels("depthwise")
    pieces = [function.hottest for function in kernel.functions]
    (piece,) = [piece for piece in pieces if piece.multiply_adds == 9 * STRIP]
    if LANES == 16:  # its 32 registers hold all of it; with 16 the compiler keeps two vectors in memory
        assert (piece.loads, piece.stores) == (3 * (STRIP + 2) + 9 + 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind.name for kind in kinds() if kind.name not in NO_VECTORS])
def test_every_step_has_machine_code(kind: str) -> None:
    functions = report(f"plan.{kind}").functions()
    assert functions[0][0].file.startswith("epcore/inference/steps/")


class TestCommand:
    def test_text_and_report(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["kernel", "relu", "--json", str(tmp_path / "relu.json")]) == 0
        text = capsys.readouterr().out
        assert "epcore/ops/relu.py: forward (line " in text
        assert f"lanes         {LANES}" in text
        found = json.loads((tmp_path / "relu.json").read_text())
        assert found["name"] == "relu"
        assert {place["backend"] for place in found["places"]} == {"reference", "cpu", "cuda"}
        assert [kernel["use"] for kernel in found["kernels"]] == ["forward", "backward"]
        assert found["choices"]["lanes"] == LANES

    def test_llvm_and_whole_functions(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["kernel", "relu", "--assembly", "all", "--llvm", "--backward"]) == 0
        text = capsys.readouterr().out
        assert "relu._differentiate" in text.partition("Machine code")[2]
        assert "relu._activate" not in text.partition("Machine code")[2]
        assert "\ndefine " in text
        assert text.rstrip().endswith("}")

    def test_steps_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["kernel", "plan"]) == 0
        assert "pointwise, depthwise, band" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["softmax"], "unknown kernel 'softmax': expected an operator (conv2d, depthwise_conv2d,"),
            (["plan.softmax"], "unknown kernel 'plan.softmax'"),
            (["relu", "--backend", "cuda", "--assembly"], "the backend cpu, not cuda"),
            (["band", "--backend", "cuda"], "no kernel on backend 'cuda'"),
            (["multiply", "--assembly"], "multiply has no machine code to show"),
            (["relu", "--example", "7"], "relu has no example 7: 0: "),
            (["relu", "--assembly", "--function", "9"], "--function is 9: expected 0 to 0"),
        ],
    )
    def test_refusals(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["kernel", *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_without_a_compiler(self) -> None:
        command = [sys.executable, "-c", "import sys; from epcore.cli import main; sys.exit(main(['kernel', 'relu']))"]
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 2
        assert "NUMBA_DISABLE_JIT is set" in result.stderr
