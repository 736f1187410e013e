"""AArch64: every CPU kernel compiles to NEON code that needs nothing but Numba's runtime; the tests pass in an emulator.

The first half needs no AArch64: llvmlite brings every backend. It compiles all kernels once, which is most of its time (under
a minute of one core). The second runs where tests/aarch64/run_under_qemu.sh has prepared a folder.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import family_errors
import pytest
from aarch64.assembled import assemble, enable_other_targets, target_machine
from families import AARCH64
from places import TESTS

import epcore
from epcore.inference.steps import record
from epcore.kernels.cpu import jit, loops
from epcore.kernels.cpu.processor import Processor, choices

PACKAGE = Path(epcore.__file__).parent
JIT, LOOPS = ("kernel", "serial_kernel", "released_kernel"), ("elementwise", "by_slot", "by_image")
DECORATORS = dict.fromkeys(JIT, jit) | dict.fromkeys(LOOPS, loops) | {"step_kernel": record}
MINUTE = 60.0

# Numba's runtime and scheduler, CPython, and of C what both are made of. log10 is Numba's: how long a number is when it is put
# into a message.
RUNTIME = re.compile(
    r"_?Py\w+|NRT_\w+|numba_\w+|(de)?allocate_sched|do_scheduling_(un)?signed|[gs]et_parallel_chunksize|get_sched_size|"
    r"get_num_threads|printf|mem(cpy|set|move)|sched_yield|log10"
)
# The processor every AArch64 Linux can be compiled for, and two that have more: SVE2 vectors of any length, and Apple's first.
GENERIC, OTHERS = (AARCH64.cpu, AARCH64.features), [("neoverse-v2", ""), ("apple-m1", "")]


def kernels() -> set[str]:
    """Every function under epcore/ with a decorator of kernels/cpu, by the name that Python gives it."""
    found = set()

    def visit(node: ast.AST, module: str, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                names = [name.func if isinstance(name, ast.Call) else name for name in child.decorator_list]
                if any(isinstance(name, ast.Name) and name.id in DECORATORS for name in names):
                    found.add(f"{module}.{outer}{child.name}")
                visit(child, module, f"{outer}{child.name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                visit(child, module, f"{outer}{child.name}.")
            else:
                visit(child, module, outer)

    for folder, _, files in os.walk(PACKAGE, followlinks=True):
        for path in (Path(folder, name) for name in files if name.endswith(".py")):
            module = ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))
            visit(ast.parse(path.read_text(encoding="utf-8")), module, "")
    return found


def compile_all(cpu: str, features: str, cache: Path) -> list[dict[str, Any]]:
    result = subprocess.run(
        [sys.executable, "-m", "aarch64.compile_kernels", cpu, features],
        cwd=TESTS, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)}, capture_output=True, text=True, check=False,
        timeout=20 * MINUTE,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module", params=[GENERIC, *(pytest.param(other, marks=pytest.mark.slow) for other in OTHERS)], ids=str)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return compile_all(*request.param, tmp_path_factory.mktemp("aarch64"))


def test_every_kernel_was_compiled(compiled: list[dict[str, Any]]) -> None:
    assert all(callable(getattr(module, name)) for name, module in DECORATORS.items())
    assert {result["kernel"] for result in compiled} == kernels()
    assert all(result["object_bytes"] for result in compiled)


def test_no_kernel_calls_for_more_than_the_runtime(compiled: list[dict[str, Any]]) -> None:
    helpers = {result["kernel"]: [name for name in result["undefined"] if not RUNTIME.fullmatch(name)] for result in compiled}
    assert {kernel: names for kernel, names in helpers.items() if names} == {}


def test_vectors_become_neon(compiled: list[dict[str, Any]]) -> None:
    """Each multiply-add of 8 lanes is two instructions of 4; half of them would do, where the same is computed twice."""
    for result in compiled:
        assert result["fused"] >= result["fused_calls"], result["kernel"]
        assert result["neon"] or not result["vectors"], result["kernel"]
    fused = {result["kernel"] for result in compiled if result["fused"]}
    products = {f"epcore.kernels.cpu.product.{name}" for name in ("_convolve", "_products")}
    assert products | {f"epcore.inference.steps.{kind}._run" for kind in ("pointwise", "depthwise", "band", "dense")} <= fused


def test_plans_order_their_memory(compiled: list[dict[str, Any]]) -> None:
    """A step's stores are released by the counter of finished tasks, and acquired by whoever waits for it."""
    (execute,) = (result for result in compiled if result["kernel"].endswith(".execute"))
    assert execute["acquire"]
    assert execute["release"]


def planted(function: str, arguments: int) -> str:
    """A kernel of one call, of a function of so many vectors."""
    kinds, values = (", ".join([text] * arguments) for text in ("<8 x float>", "<8 x float> %x"))
    return f"""
        target triple = "{AARCH64.triple}"
        declare <8 x float> @{function}({kinds})
        define <8 x float> @f(<8 x float> %x) {{
          %y = call <8 x float> @{function}({values})
          ret <8 x float> %y
        }}"""


def test_assembling_notices_what_it_should() -> None:
    enable_other_targets()
    machine = target_machine(*GENERIC)
    fused = assemble(planted("llvm.fma.v8f32", 3), machine)
    assert (fused.undefined, fused.fused_calls, fused.fused) == ([], 1, 2)
    called = assemble(planted("llvm.exp.v8f32", 1), machine)
    assert called.undefined == ["expf"]
    assert not RUNTIME.fullmatch("expf")
    with pytest.raises(ValueError, match=r"another architecture: llvm\.x86\.avx\.rcp\.ps\.256"):
        assemble(planted("llvm.x86.avx.rcp.ps.256", 1), machine)


def emulated(*arguments: str, minutes: float) -> subprocess.CompletedProcess[str]:
    """`run_under_qemu.sh run FOLDER ARGUMENTS`, or a skip that says what is missing."""
    folder = os.environ.get("EPCORE_AARCH64")
    if not folder:
        pytest.skip("EPCORE_AARCH64 is not set: it names a folder that tests/aarch64/run_under_qemu.sh has prepared")
    if not Path(folder, "python").exists():
        pytest.skip(f"EPCORE_AARCH64 ({folder}) is not prepared: tests/aarch64/run_under_qemu.sh prepare {folder}")
    return subprocess.run(
        [str(TESTS / "aarch64" / "run_under_qemu.sh"), "run", folder, *arguments],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False, timeout=minutes * MINUTE,
    )  # fmt: skip


@pytest.mark.slow
def test_kernels_in_an_emulator() -> None:
    result = emulated(minutes=90)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None and int(passed[1]) > 100, result.stdout


@pytest.mark.slow
def test_networks_and_a_training_step_in_an_emulator(tmp_path: Path) -> None:
    """Within the bounds that hold for every family of processors."""
    family_errors.compute_expectations(tmp_path)
    result = emulated(family_errors.__file__, str(tmp_path), minutes=60)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    outcome = json.loads(result.stdout)
    expected = Processor.from_llvm(AARCH64.triple, AARCH64.cpu, AARCH64.features)
    assert (outcome["triple"], outcome["choices"]) == (expected.triple, choices(expected))
    for case, share in outcome["of_bound"].items():
        assert share <= 1, f"{case} is off by {outcome['errors'][case]:.2g}, {share:.3g} times its bound"
