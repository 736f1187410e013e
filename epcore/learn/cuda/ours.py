"""epcore's own CUDA kernels under the same watch: what a student's are set beside, and what the watch must not complain of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from epcore.kernels.cuda import loader
from epcore.learn.cuda.counts import Counts, advice, counted
from epcore.learn.cuda.findings import Finding, Scene, translate
from epcore.learn.cuda.program import Launch, build, run


@dataclass(eq=False)  # it is a key
class Watched:
    """A compiler for `loader.use_compiler`: every launch is a process, in each of `orders`; NumPy arrays take what it gives."""

    given: set[int]  # addresses of the arrays that are filled already
    orders: Sequence[str] = ("lockstep",)
    counts: Counts = field(default_factory=Counts)
    findings: list[Finding] = field(default_factory=list)

    def __call__(self, file: str, code: str, kernels: Sequence[str]) -> Module:
        return Module(self, file, code)


@dataclass(frozen=True)
class Module:
    watch: Watched
    file: str
    code: str

    def get_function(self, name: str, /) -> Callable[..., None]:
        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], *, shared_mem: int = 0) -> None:
            _launch(self, name, Launch(grid, block, arguments, _fresh(self.watch, arguments), False, shared_mem))

        return launch


def _fresh(watch: Watched, arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Which arrays nothing has been written to yet."""
    addresses = [argument.ctypes.data for argument in arguments if isinstance(argument, np.ndarray)]
    fresh = tuple(i for i, address in enumerate(addresses) if address not in watch.given)
    watch.given.update(addresses)
    return fresh


def _launch(module: Module, name: str, launch: Launch) -> None:
    watch = module.watch
    program = build(module.code, name, name=module.file)
    arrays = [argument for argument in launch.arguments if isinstance(argument, np.ndarray)]
    scene = Scene(program, launch, [f"array {i}" for i in range(len(arrays))], f"{module.file}.cu", name)
    for order in watch.orders:
        result = run(program, launch, order)
        watch.findings += translate(result, scene)
        if order == "lockstep":
            counts = counted(result)
            watch.counts += counts
            watch.findings += advice(result, scene, counts)
        if len(result.arrays) != len(arrays):
            raise RuntimeError(f"{name} did not end: {result.end['end']}")
    for array, after in zip(arrays, result.arrays, strict=True):
        np.copyto(array, after)


def count(call: Callable[..., object], inputs: Sequence[np.ndarray]) -> Counts:
    """What the launches of `call`, a function of `epcore.kernels.cuda`, on its inputs cost together."""
    watch = Watched({array.ctypes.data for array in inputs})
    with loader.use_compiler(watch):
        call(*inputs)
    return watch.counts
