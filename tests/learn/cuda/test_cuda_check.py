"""Stage (g) without a GPU: right kernels pass, and every planted mistake is named with its line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from cuda_mistakes import MISTAKES, SLOW, Mistake
from cuda_on_host.devices import require_compiler
from places import ROOT

from epcore.learn.cuda.check import Check, check_code, check_cuda
from epcore.learn.cuda.counts import counted
from epcore.learn.cuda.exercises import EXERCISES
from epcore.learn.cuda.findings import line_table
from epcore.learn.cuda.program import ORDERS, Launch, build, run


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    require_compiler()


def check(mistake: Mistake) -> Check:
    return check_code(mistake.code(), "answer.cu", EXERCISES[mistake.exercise])


@pytest.mark.parametrize("name", EXERCISES)
def test_solutions_are_right(name: str) -> None:
    result = check_code(EXERCISES[name].solution(), "answer.cu", EXERCISES[name])
    assert result.right
    assert not result.findings
    assert result.counts is not None
    assert result.ours is not None
    assert result.counts.needed_sectors == result.counts.sectors > result.counts.requests > 0


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_mistakes_are_named(mistake: Mistake) -> None:
    result = check(mistake)
    assert not result.right
    assert (mistake.kind, mistake.line()) in [(finding.kind, finding.line) for finding in result.findings], result.findings
    assert {finding.kind for finding in result.findings} == {mistake.kind}, result.findings


@pytest.mark.parametrize("mistake", SLOW, ids=lambda mistake: mistake.name)
def test_what_is_slow_is_named(mistake: Mistake) -> None:
    result = check(mistake)
    assert result.right
    assert (mistake.kind, mistake.line()) in [(finding.kind, finding.line) for finding in result.findings], result.findings
    assert {finding.kind for finding in result.findings} == {mistake.kind}


class TestWhatIsSaid:
    def test_a_race_names_both_threads_and_lines(self) -> None:
        result = check(next(mistake for mistake in MISTAKES if mistake.name == "no barrier in the loop"))
        text = str(result.findings[0])
        assert text.startswith("answer.cu:9: missing barrier: thread (0,")
        assert re.search(
            r"writes element \d+ of sums at line \d+, thread \(0,\d,0\) of block \(0,0,0\) reads it at line \d+", text
        )

    def test_a_stray_names_the_element_and_the_size(self) -> None:
        result = check(next(mistake for mistake in MISTAKES if mistake.name == "a read past the end"))
        assert "thread (0,0,0) of block (0,0,0) reads x[1]; x has elements 0 to 0" in str(result.findings[0])

    def test_an_empty_kernel(self) -> None:
        result = check_code(EXERCISES["swish"].starter(), "answer.cu", EXERCISES["swish"])
        assert [finding.kind for finding in result.findings] == ["never written"]

    def test_another_signature(self) -> None:
        code = EXERCISES["swish"].solution().replace("int n", "long n")
        result = check_code(code, "answer.cu", EXERCISES["swish"])
        assert [finding.kind for finding in result.findings] == ["signature"]
        assert "expected __global__ void swish(const float*, float*, int)" in result.findings[0].message

    def test_no_kernel(self) -> None:
        result = check_code("int x;", "answer.cu", EXERCISES["swish"])
        assert [finding.kind for finding in result.findings] == ["missing"]

    @pytest.mark.parametrize(
        ("added", "text"),
        [("float other(float);", "other(float) is nowhere defined"), ("int main() { return 0; }", "main is defined already")],
    )
    def test_what_does_not_link(self, added: str, text: str) -> None:
        code = added + EXERCISES["swish"].solution().replace("expf(-x)", "expf(-x)" if "main" in added else "other(-x)")
        (finding,) = check_code(code, "answer.cu", EXERCISES["swish"]).findings
        assert finding.kind == "compile"
        assert text in finding.message

    @pytest.mark.parametrize(
        "line",
        ["exit(0);", "abort();", "int deep[4000]; deep[n] = 1; swish(x, y + deep[n], n);", "y[0] = *new float[1l << 40];"],
    )
    def test_a_kernel_that_ends_the_program(self, line: str) -> None:
        code = "#include <cstdlib>\n" + EXERCISES["swish"].starter().replace("{\n}", "{\n  " + line + "\n}")
        result = check_code(code, "answer.cu", EXERCISES["swish"])
        assert [finding.kind for finding in result.findings] == ["crash"]

    def test_what_cuda_allows(self) -> None:
        """Includes, printf, several shared arrays in one declaration, over several lines."""
        code = """#include <cuda_runtime.h>
        __global__ void swish(const float* x, float* y, int n) {
          __shared__ volatile float a[256],
              b[2][128];
          a[threadIdx.x] = b[threadIdx.x % 2][threadIdx.x / 2] = 1;
          if (threadIdx.x == 0 && blockIdx.x == 0) printf("n is %d\\n", n);
          for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256)
            y[i] = x[i] / (a[threadIdx.x] + expf(-x[i]));
        }
        """
        result = check_code(code, "answer.cu", EXERCISES["swish"])
        assert (result.findings, result.printed) == ((), "n is 20000\n")
        wrong = check_code(code.replace("i < n;", "i <= n;"), "answer.cu", EXERCISES["swish"])
        assert [(finding.kind, finding.line) for finding in wrong.findings] == [("out of bounds", 8)]

    def test_findings_carry_the_name_of_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / 'my "first" kernel.cu'
        path.write_text(EXERCISES["swish"].solution().replace("expf(-x)", "expf(x)"))
        (finding,) = check_cuda(path, "swish").findings
        assert (finding.file, finding.kind, finding.line) == (path.name, "wrong result", 15)

    def test_an_unknown_exercise(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"unknown exercise 'relu': expected one of swish, depthwise_forward"):
            check_cuda(tmp_path / "x.cu", "relu")

    def test_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(OSError, match=r"apt install g\+\+"):
            check_code("", "answer.cu", EXERCISES["swish"])


STRIDED = """__global__ void swish(const float* x, float* y, int n) {
  __shared__ float s[64];
  const int i = threadIdx.x;
  s[2 * i % 64] = 0;
  __syncthreads();
  if (i < 32) y[i] = x[8 * i] + s[i];
  if (i < 16) y[i + 96] = 1;
  if (i % 2) y[i + 64] = 1;
}
"""


def test_counts_by_hand() -> None:
    """One block of 64 threads, two warps: what each line takes is known."""
    x, y = np.zeros(256, np.float32), np.zeros(128, np.float32)
    program = build(STRIDED, "swish", name="strided")
    result = run(program, Launch((1,), (64,), (x, y, np.int32(0)), (), constant=False), "lockstep")
    lines = line_table(program, [cost["cost"] for cost in result.costs], "strided.cu")
    table = {
        (lines[cost["cost"]], cost["write"]): [
            cost[name] for name in ("requests", "sectors", "needed_sectors", "passes", "needed_passes")
        ]
        for cost in result.costs
        if cost["requests"] and not (cost["shared"] and lines[cost["cost"]] == 6)
    }
    assert table == {
        (4, 1): [2, 0, 0, 4, 2],  # words 0, 2, ... 62: two of each even bank
        (6, 0): [1, 32, 4, 0, 0],  # every eighth float: a sector a lane
        (6, 1): [1, 4, 4, 0, 0],
        (7, 1): [1, 2, 2, 0, 0],
        (8, 1): [2, 8, 4, 0, 0],  # half of the bytes of each sector
    }
    counts = counted(result)
    assert (counts.requests, counts.sectors, counts.shared_requests) == (5, 46, 3)
    assert counts.parted == 3  # line 7 in one warp, line 8 in both
    assert counts.bytes == 46 * 32


def test_atomic_additions_are_no_race() -> None:
    code = "__global__ void swish(const float* x, float* y, int n) {\n  atomicAdd(y, x[threadIdx.x]);\n}\n"
    x, y = np.arange(64, dtype=np.float32), np.zeros(1, np.float32)
    program = build(code, "swish", name="atomic")
    for order in ORDERS:
        result = run(program, Launch((2,), (64,), (x, y, np.int32(0)), (), constant=False), order)
        assert not result.findings
        assert result.arrays[1][0] == 2 * x.sum()


def test_warp_barriers_order_a_warp_and_no_more() -> None:
    code = """__global__ void swish(const float* x, float* y, int n) {
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = s[threadIdx.x ^ n];
}
"""
    program = build(code, "swish", name="warps")
    x, y = np.arange(64, dtype=np.float32), np.empty(64, np.float32)
    for distance, found in ((31, set()), (32, {"race"})):
        for order in ORDERS:
            result = run(program, Launch((1,), (64,), (x, y, np.int32(distance)), (1,)), order)
            assert {finding["finding"] for finding in result.findings} == found, (distance, order)


def test_headers_and_texts_are_in_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["epcore"]
    packed = {path for pattern in patterns for path in (ROOT / "epcore").glob(pattern)}
    assert {path for path in (ROOT / "epcore/learn/cuda").rglob("*") if path.suffix in (".h", ".cpp", ".cu")} <= packed
