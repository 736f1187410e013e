"""The timing on a GPU, on a stand-in that notes what is launched: no figure is tested."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from epcore.kernels.cuda import loader
from epcore.learn.cuda.exercises import EXERCISES, Problem
from epcore.learn.cuda.program import CompileError, Launch
from epcore.learn.cuda.timing import timed


class RefusalError(Exception):
    pass


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    class RawModule:
        def __init__(self, *, code: str, options: tuple[str, ...], name_expressions: list[str]) -> None:
            if "error" in code:
                raise RefusalError("line 1: error")

        def get_function(self, name: str) -> Callable[..., None]:
            return lambda grid, block, arguments: found.append((name, grid, block, arguments))

    def benchmark(call: Callable[[], Any], *, n_repeat: int, n_warmup: int) -> SimpleNamespace:
        call()
        return SimpleNamespace(gpu_times=np.array([[3e-6, 1e-6, 2e-6]]))

    compiler = SimpleNamespace(compiler=SimpleNamespace(CompileException=RefusalError))
    cupy = SimpleNamespace(RawModule=RawModule, asarray=lambda array: ("device", array), cuda=compiler)
    monkeypatch.setattr(loader, "require_cupy", lambda: cupy)
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupyx.profiler", SimpleNamespace(benchmark=benchmark))
    return found


def test_both_kernels_run_on_arrays_of_the_device(launches: list[Any]) -> None:
    x, y = np.ones(4, np.float32), np.empty(4, np.float32)
    ours: list[Any] = []
    problem = Problem(Launch((1,), (256,), (x, y, np.int32(4)), (1,)), (x,), ours.append)
    assert timed("kernel", "swish", lambda: problem) == pytest.approx((2, 2))
    ((name, grid, block, arguments),) = launches
    assert (name, grid, block, arguments[2]) == ("swish", (1,), (256,), 4)
    assert [kind for kind, _ in (*arguments[:2], *ours)] == ["device"] * 3


@pytest.mark.usefixtures("launches")
def test_what_the_gpus_compiler_refuses() -> None:
    with pytest.raises(CompileError, match="line 1: error"):
        timed("error", "swish", lambda: Problem(Launch((1,), (1,), (), ()), (), lambda: None))


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("backend 'cuda' cannot run: no GPU")

    monkeypatch.setattr(loader, "require_cupy", missing)
    assert timed("", "swish", lambda: pytest.fail("nothing is to be made")) is None


@pytest.mark.gpu
@pytest.mark.parametrize("name", EXERCISES)
def test_solutions_on_a_gpu(name: str) -> None:
    exercise = EXERCISES[name]
    times = timed(exercise.solution(), exercise.kernel, exercise.large)
    assert times is not None
    assert min(times) > 0
