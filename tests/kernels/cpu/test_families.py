"""Everything the processor decides, run as every family of processors that this one can be: kernels, plans, a training step.

Each family computes in processes of its own, in the background, as many at once as there are cores.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import family_errors
import pytest
from families import AARCH64, FAMILIES, executable, host_features, run

from epcore.kernels.cpu.processor import CHOICES, Processor, choices
from epcore.threads import get_threads

# What is compiled differently from family to family.
FILES = (
    "test_simd_functions.py",
    "test_cpu_simd.py",
    "test_cpu_parity.py",
    "test_fused_kernels.py",
    "test_panels.py",
    "test_scatter.py",
    "test_double_sums.py",
    "../../pose/test_peaks.py::test_maps_of_figures",
    "../../pose/test_resample.py::test_grey_levels_of_common_pictures",
)
REASONS = executable()


def processor(cpu: str) -> Processor:
    return Processor.from_llvm("x86_64-unknown-linux-gnu", cpu, FAMILIES[cpu].features(host_features()))


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Any]]:
    """background(family, "errors" | "tests"): what the child of that family gave."""
    folder = tmp_path_factory.mktemp("families")
    with ThreadPoolExecutor(get_threads()) as pool:
        expectations = pool.submit(family_errors.compute_expectations, folder)

        def tests(cpu: str) -> subprocess.CompletedProcess[str]:
            files = [f"{Path(__file__).parent}/{name}" for name in FILES]
            return run(cpu, folder, "-m", "pytest", "-q", "-x", "-m", "not slow and not gpu", *files)

        def errors(cpu: str) -> subprocess.CompletedProcess[str]:
            expectations.result()
            return run(cpu, folder, family_errors.__file__, str(folder))

        futures: dict[tuple[str, str], Future[subprocess.CompletedProcess[str]]] = {}
        for cpu, reason in REASONS.items():
            if not reason:
                futures[cpu, "tests"] = pool.submit(tests, cpu)
                futures[cpu, "errors"] = pool.submit(errors, cpu)

        def outcome(cpu: str, what: str) -> Any:
            if REASONS[cpu]:
                pytest.skip(f"{cpu} cannot run here: {REASONS[cpu]}")
            result = futures[cpu, what].result()
            assert result.returncode == 0, f"as {cpu}:\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
            return json.loads(result.stdout) if what == "errors" else result.stdout

        yield outcome


def test_every_option_is_taken_by_some_family() -> None:
    """Else it would be proven nowhere. AArch64 is compiled here and run where an emulator is: test_aarch64.py."""
    decided = [choices(Processor.from_llvm(AARCH64.triple, AARCH64.cpu, AARCH64.features))]
    for cpu, family in FAMILIES.items():
        every = ",".join("+" + name for name in family.needs)
        decided.append(choices(Processor.from_llvm("x86_64-unknown-linux-gnu", cpu, every)))
    for choice in CHOICES:
        assert {row[choice.name] for row in decided} == set(choice.options), choice.name


@pytest.mark.parametrize("cpu", FAMILIES)
def test_kernels(cpu: str, background: Callable[[str, str], Any]) -> None:
    output = background(cpu, "tests")
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None and int(passed[1]) > 100, output
    assert "skipped" not in output


@pytest.mark.parametrize("cpu", FAMILIES)
def test_networks_and_a_training_step(cpu: str, background: Callable[[str, str], Any]) -> None:
    outcome = background(cpu, "errors")
    expected = processor(cpu)
    assert outcome["cpu"] == cpu
    assert set(outcome["features"]) == expected.features
    assert outcome["choices"] == choices(expected), "the child decided otherwise than the table says for its processor"
    for case, share in outcome["of_bound"].items():
        assert share <= 1, f"as {cpu}: {case} is off by {outcome['errors'][case]:.2g}, {share:.3g} times its bound"
    assert len(outcome["errors"]) == (5 if os.environ.get("EPCORE_DATA") else 2)


def test_every_option_that_can_be_taken_here_was(background: Callable[[str, str], Any]) -> None:
    cpus = [cpu for cpu, reason in REASONS.items() if not reason]
    if not cpus:
        pytest.skip("no family of x86 can run here")
    taken = [background(cpu, "errors")["choices"] for cpu in cpus]
    for choice in CHOICES:
        possible = {choice.decide(processor(cpu)) for cpu in cpus}
        assert {row[choice.name] for row in taken} == possible, choice.name


@pytest.mark.slow
@pytest.mark.parametrize("cpu", FAMILIES)
def test_all_numbers(cpu: str, tmp_path: Path) -> None:
    """The functions of one number and division on all 2^32 float32 numbers: several minutes a family."""
    if REASONS[cpu]:
        pytest.skip(f"{cpu} cannot run here: {REASONS[cpu]}")
    file = str(Path(__file__).with_name("test_simd_functions.py"))
    result = run(cpu, tmp_path, "-m", "pytest", "-q", "-x", "-m", "slow", file, timeout=7200)
    assert result.returncode == 0, f"as {cpu}:\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    assert "4 passed" in result.stdout
