"""On a GPU, where there is one: how long the student's kernel takes, and how long ours."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from epcore.kernels.cuda import loader
from epcore.learn.cuda.exercises import Problem
from epcore.learn.cuda.program import CompileError

REPEATS = 50


def timed(code: str, kernel: str, problem: Callable[[], Problem]) -> tuple[float, float] | None:
    """The median of some launches in microseconds: the kernel of CUDA C++ `code`, and epcore's. None without a GPU.

    Raises CompileError where NVRTC does not compile the kernel. Caches are not emptied between launches; the arrays are
    larger than most of them.
    """
    try:
        cupy = loader.require_cupy()
    except RuntimeError:
        return None
    large = problem()
    arguments = tuple(cupy.asarray(value) if isinstance(value, np.ndarray) else value for value in large.launch.arguments)
    try:
        launch = cupy.RawModule(code=code, options=loader.OPTIONS, name_expressions=[kernel]).get_function(kernel)
    except cupy.cuda.compiler.CompileException as error:
        raise CompileError(str(error)) from None
    inputs = [cupy.asarray(array) for array in large.inputs]
    return (
        _microseconds(lambda: launch(large.launch.grid, large.launch.block, arguments)),
        _microseconds(lambda: large.ours(*inputs)),
    )


def _microseconds(call: Callable[[], Any]) -> float:
    times = import_module("cupyx.profiler").benchmark(call, n_repeat=REPEATS, n_warmup=5).gpu_times
    return float(np.median(times)) * 1e6
