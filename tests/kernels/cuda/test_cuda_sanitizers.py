"""The CUDA kernels on the processor under the address, undefined-behaviour and thread sanitizers.

A sanitizer has to be in the process from its start and ends it at the first finding, so every check is a process of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_on_host.devices import require_compiler
from places import ROOT, TESTS

HERE = Path(__file__).parent


def sanitized_python(sanitizer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the sanitizer's library loaded first. Skips the test where a tool is missing."""
    require_compiler()
    library = {"asan": "libasan.so", "tsan": "libtsan.so"}[sanitizer]
    paths = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in (library, "libstdc++.so.6")
    ]
    if not Path(paths[0]).is_absolute():
        pytest.skip(f"{library} is not installed beside g++")
    command = [sys.executable, *arguments]
    if sanitizer == "tsan":  # it wants its own layout of memory
        if shutil.which("setarch") is None:
            pytest.skip("setarch is not installed: the thread sanitizer needs addresses that are not randomised")
        command = ["setarch", platform.machine(), "-R", *command]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0 detect_stack_use_after_return=0",
        "TSAN_OPTIONS": "report_signal_unsafe=0 exitcode=66",
        "EPCORE_HOST_CUDA_SANITIZER": sanitizer,
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def run_planted(kernel: str, sanitizer: str, define: str = "") -> subprocess.CompletedProcess[str]:
    code = f"from cuda_on_host.planted import run; run({kernel!r}, {sanitizer!r}, {define!r}); print('finished')"
    return sanitized_python(sanitizer, "-c", code)


def run_parity(sanitizer: str, order: str, selection: str) -> None:
    """The parity tests of one thread order, in a Python with the sanitizer."""
    options = ["-q", "-x", "--no-header", "-m", "not gpu", "-k", f"{order} and ({selection})"]
    result = sanitized_python(sanitizer, "-m", "pytest", str(HERE / "test_cuda_parity.py"), *options)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    assert " passed" in result.stdout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_under_address_and_undefined_behaviour_sanitizers(dtype: str) -> None:
    run_parity("asan", "shuffled", dtype)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["forward", "shuffled"])
def test_kernels_under_thread_sanitizer(order: str) -> None:
    run_parity("tsan", order, "float32")


class TestPlanted:
    """Each mistake is found, and the same kernel without it is not complained about."""

    @pytest.mark.parametrize(
        ("kernel", "finding"),
        [
            ("read_past_the_end", "heap-buffer-overflow"),
            ("write_past_shared", "index 32 out of bounds"),
            ("misaligned", "misaligned address"),
        ],
    )
    def test_address_sanitizer(self, kernel: str, finding: str) -> None:
        result = run_planted(kernel, "asan")
        assert result.returncode != 0
        assert finding in result.stderr
        assert "finished" not in result.stdout

    def test_address_sanitizer_passes_a_good_kernel(self) -> None:
        result = run_planted("transpose<8>", "asan")
        assert (result.returncode, result.stdout) == (0, "finished\n"), result.stderr

    @pytest.mark.slow
    @pytest.mark.parametrize(("kernel", "define"), [("transpose<8>", "#define MISSING_BARRIER"), ("race", "")])
    def test_thread_sanitizer(self, kernel: str, define: str) -> None:
        result = run_planted(kernel, "tsan", define)
        assert result.returncode == 66
        assert "data race" in result.stderr

    @pytest.mark.slow
    def test_thread_sanitizer_passes_a_good_kernel(self) -> None:
        result = run_planted("transpose<8>", "tsan")
        assert (result.returncode, result.stdout) == (0, "finished\n"), result.stderr
