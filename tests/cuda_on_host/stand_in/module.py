"""The module `cupy` of the stand-in, put in CuPy's place for the time of a block."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from cuda_on_host.devices import compile_kernels, require_compiler
from cuda_on_host.stand_in import queue
from cuda_on_host.stand_in.array import apply, empty, ndarray, segments, upload
from cuda_on_host.stand_in.memory import MemoryPool, OutOfMemoryError, default_pool, using_allocator
from epcore.kernels.cuda import loader

_TYPES = ("bool_", "int8", "uint8", "int16", "int32", "int64", "uint32", "uint64", "float16", "float32", "float64")
_CONSTANTS = ("pi", "inf", "nan", "newaxis")


class RawModule:
    """Kernels by g++ through the emulator. A launch is recorded where the stream captures."""

    def __init__(self, *, code: str, options: Sequence[str] = (), name_expressions: Sequence[str] = ()) -> None:
        self._kernels = compile_kernels(code, name_expressions)

    def get_function(self, name: str) -> Callable[..., None]:
        kernel = self._kernels.get_function(name)

        def launch(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], *, shared_mem: int = 0) -> None:
            if any(isinstance(argument, np.ndarray) for argument in arguments):
                raise TypeError(f"{name}: Unsupported type {np.ndarray}")
            values = [argument.host if isinstance(argument, ndarray) else argument for argument in arguments]
            queue.submit(name, lambda: kernel(grid, block, values, shared_mem=shared_mem), segments(arguments))

        return launch


def _function(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def call(*arguments: Any, **options: Any) -> Any:
        return apply(function, arguments, options)

    return call


def _filled(value: Any) -> Callable[..., ndarray]:
    def make(shape: Any, dtype: Any = np.float64) -> ndarray:
        array = empty(shape, dtype)
        array.fill(value)
        return array

    return make


def _like(make: Callable[..., ndarray]) -> Callable[..., ndarray]:
    return lambda array, dtype=None: make(array.shape, array.dtype if dtype is None else dtype)


def _asarray(values: Any, dtype: Any = None) -> ndarray:
    if isinstance(values, ndarray):
        return values if dtype is None or values.dtype == np.dtype(dtype) else values.astype(dtype)
    return upload(values, dtype)


def _array(values: Any, dtype: Any = None) -> ndarray:
    array = _asarray(values, dtype)
    copied: ndarray = array.copy() if array is values else array
    return copied


def _copyto(target: ndarray, values: Any) -> None:
    target[...] = values


class _Generator:
    """`cupy.random.Generator`: of the methods what the benchmarks draw from."""

    def __init__(self, seed: int | None = None) -> None:
        self._numpy = np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Callable[..., ndarray]:
        draw = getattr(self._numpy, name)
        return lambda *arguments, **options: upload(draw(*arguments, **options))


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Callable[..., Any]:
        """NumPy's functions of the same name."""
        if name.startswith("_") or not callable(getattr(np, name, None)):
            raise AttributeError(f"the stand-in for CuPy has no {name}")
        return _function(name)


def _runtime() -> SimpleNamespace:
    properties = {"name": b"stand-in", "major": 9, "minor": 0, "multiProcessorCount": 132}
    return SimpleNamespace(
        CUDARuntimeError=queue.CUDARuntimeError, getDeviceCount=lambda: 1, getDevice=lambda: 0, setDevice=lambda _: None,
        getDeviceProperties=lambda _: properties, runtimeGetVersion=lambda: 13000, driverGetVersion=lambda: 13000,
        memGetInfo=lambda: (64 << 30, 80 << 30), deviceSynchronize=lambda: queue.refuse_while_capturing("synchronising"),
    )  # fmt: skip


def _build() -> _Module:
    cupy = _Module("cupy")
    for name in _TYPES + _CONSTANTS:
        setattr(cupy, name, getattr(np, name))
    zeros, ones = _filled(0), _filled(1)
    cupy.__dict__.update(
        __version__="stand-in", ndarray=ndarray, RawModule=RawModule, empty=empty, zeros=zeros, ones=ones,
        empty_like=_like(empty), zeros_like=_like(zeros), ones_like=_like(ones), asarray=_asarray, array=_array,
        ascontiguousarray=lambda array, dtype=None: _array(array, dtype), copyto=_copyto, asnumpy=lambda array: array.get(),
        arange=lambda *bounds, dtype=None: upload(np.arange(*bounds), dtype),
        full=lambda shape, value, dtype=None: _filled(value)(shape, np.asarray(value).dtype if dtype is None else dtype),
        random=SimpleNamespace(default_rng=_Generator, Generator=_Generator),
        get_default_memory_pool=lambda: default_pool,
        cuda=SimpleNamespace(
            Stream=queue.Stream, Event=queue.Event, Graph=queue.Graph, MemoryPool=MemoryPool, using_allocator=using_allocator,
            get_current_stream=queue.current, get_elapsed_time=queue.get_elapsed_time, runtime=_runtime(),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError), Device=lambda id=0: SimpleNamespace(
                id=id, synchronize=lambda: queue.refuse_while_capturing("synchronising"), compute_capability="90"),
        ),
        counts=queue.counts,
    )  # fmt: skip
    return cupy


@contextlib.contextmanager
def stand_in() -> Iterator[Any]:
    """`cupy` is the stand-in within the block. Skips the test, with the reason, where there is no g++."""
    require_compiler()
    cupy = _build()
    queue.counts.clear()
    loader.require_cupy.cache_clear()
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy  # alone: what is imported within the block stays imported
    try:
        with mock.patch.object(loader, "_functions", {}), mock.patch.object(loader, "_modules", {}):
            yield cupy
    finally:
        loader.require_cupy.cache_clear()
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
