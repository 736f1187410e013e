"""Where the tests of the CUDA kernels run: on the processor in one of three thread orders, or on a GPU where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest

import epcore.kernels.cuda
from cuda_on_host.host_module import CONTRACTED, ORDERS, HostKernel, HostModule
from epcore.kernels.cuda import loader
from epcore.kernels.cuda.loader import WIDTHS, Source

HOST_ORDERS = tuple(ORDERS)
DEVICES = (*HOST_ORDERS, pytest.param(CONTRACTED, marks=pytest.mark.slow), pytest.param("gpu", marks=pytest.mark.gpu))


@cache
def sources() -> dict[str, Source]:
    """Every `.cu` file of the package, by name."""
    names = [module.name for module in iter_modules(epcore.kernels.cuda.__path__)]
    modules = [import_module(f"epcore.kernels.cuda.{name}") for name in names]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Source)]
    return {source.file: source for source in found}


@cache
def host_module(source: Source, T: str, build: str) -> HostModule:
    return HostModule(source.code(), source.instances(T), name=f"{source.file}-{T}", build=build)


@cache
def compile_all(build: str) -> None:
    """Every kernel, two sources at a time; those already in the cache cost nothing."""
    jobs = [(source, T, build) for source in sources().values() for T in WIDTHS]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: host_module(*job), jobs))


def _compile(file: str, code: str, kernels: Sequence[str], *, build: str | None = None) -> HostModule:
    build = os.environ.get("EPCORE_HOST_CUDA_SANITIZER", "") if build is None else build
    compile_all(build)
    source = sources()[file]
    return next(host_module(source, T, build) for T in WIDTHS if source.instances(T) == list(kernels))


def _compile_contracted(file: str, code: str, kernels: Sequence[str]) -> HostModule:
    return _compile(file, code, kernels, build=CONTRACTED)


def compile_kernels(code: str, kernels: Sequence[str]) -> HostModule:
    """The kernels of one of the package's sources, known by its text."""
    return _compile(next(source.file for source in sources().values() if source.code() == code), code, kernels)


class Device:
    """Moves arrays to where kernels run and back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.xp: Any = loader.require_cupy() if name in ("gpu", "stand-in") else np

    def put(self, value: Any) -> Any:
        """Arrays, None and anything else, alone or in tuples and lists."""
        if isinstance(value, (tuple, list)):
            return type(value)(self.put(v) for v in value)
        return self.xp.asarray(value) if isinstance(value, np.ndarray) else value

    def get(self, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(self.get(v) for v in value)
        return value.get() if self.xp is not np and isinstance(value, self.xp.ndarray) else value


@contextlib.contextmanager
def device(name: str) -> Iterator[Device]:
    """Kernels run there within the block; skips the test, with the reason, where they cannot.

    The orders of `ORDERS` take NumPy arrays, and so does CONTRACTED: there multiply-adds are fused and denormals flushed.
    "stand-in" takes arrays of the stand-in for CuPy (`stand_in`).
    """
    if name == "gpu":
        try:
            yield Device(name)
        except RuntimeError as error:
            if "cannot run" not in str(error):
                raise
            pytest.skip(str(error))
        return
    if name == "stand-in":
        from cuda_on_host.stand_in import stand_in  # which needs what is above

        with stand_in():
            yield Device(name)
        return
    require_compiler()
    contracted = name == CONTRACTED
    if contracted and "fma" not in _features():
        pytest.skip("this processor has no x86 fused multiply-add")
    before, HostKernel.order = HostKernel.order, "forward" if contracted else name
    try:
        with loader.use_compiler(_compile_contracted if contracted else _compile):
            yield Device(name)
    finally:
        HostKernel.order = before


@cache
def _features() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().split() if path.exists() else []


def require_compiler() -> None:
    """Skips the test where there is no g++ to compile the kernels for the processor."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: it compiles the CUDA kernels for the processor")
