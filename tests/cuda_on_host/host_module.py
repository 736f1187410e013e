"""Runs CUDA C++ kernels on the processor: g++ compiles the source through cuda_on_host.h, ctypes launches it.

`HostModule` offers what the launchers use of `cupy.RawModule`. Blind spots: races between blocks (`epcore.learn.cuda` sees
those), which multiply-adds NVRTC fuses, the bits of CUDA's own exp, two different barriers on one source line, performance.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from epcore.learn.cuda.source import HEADERS, compiled, headers, host_source

ORDERS = {"forward": 0, "reversed": 1, "shuffled": 2}
CONTRACTED = "contracted"
BUILDS = {
    "": ["-O1"],
    # As NVRTC compiles with -ftz=true; g++ looks for multiply-adds among its expensive optimizations.
    CONTRACTED: ["-O1", "-fexpensive-optimizations", "-mfma", "-ffp-contract=fast", "-DCOH_FLUSH_DENORMALS"],
    "asan": ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"],
    "tsan": ["-O1", "-g1", "-fsanitize=thread"],
}
_SCALARS: dict[str, Any] = {
    "int32": ctypes.c_int32, "float32": ctypes.c_float, "float64": ctypes.c_double, "uint64": ctypes.c_uint64
}  # fmt: skip


def compile_shared_object(source: str, name: str, build: str) -> Path:
    """g++ -> a shared object in the cache, named after everything that went in. Raises RuntimeError with g++'s text."""
    command = ["g++", "-std=c++17", "-shared", "-fPIC", f"-I{HEADERS}", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused",
               "-fno-strict-aliasing", "-ffp-contract=off", *BUILDS[build]]  # fmt: skip
    return compiled(command, source, headers("cuda_on_host.h", "fibers.h"), name=name, suffix=".so")


class HostModule:
    """Kernels of one source. code: CUDA C++; name_expressions: kernels wanted, with template arguments; build: of BUILDS."""

    def __init__(self, code: str, name_expressions: Sequence[str], *, name: str = "kernel", build: str = "") -> None:
        source = host_source(code, name_expressions, name=name)
        self.library = ctypes.CDLL(str(compile_shared_object(source, name, build)))
        self.index = {kernel: i for i, kernel in enumerate(name_expressions)}

    def get_function(self, kernel: str) -> HostKernel:
        symbol = f"coh_kernel{self.index[kernel]}"
        signature = self.library[f"{symbol}_signature"]
        signature.restype = ctypes.c_char_p
        return HostKernel(self.library[symbol], kernel, signature().decode().split())


class HostKernel:
    """One kernel, launched as CuPy's are: kernel(grid, block, arguments, shared_mem=bytes)."""

    order: ClassVar[str] = "forward"
    seed: ClassVar[int] = 1

    def __init__(self, function: Callable[..., int], name: str, signature: list[str]) -> None:
        self.function, self.name, self.signature = function, name, signature

    def __call__(self, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], *, shared_mem: int = 0) -> None:
        """Raises TypeError where an argument is not what the kernel takes, RuntimeError for what the emulator noticed."""
        got = [_describe(argument) for argument in arguments]
        if len(got) != len(self.signature) or any(w not in g for g, w in zip(got, self.signature, strict=True)):
            raise TypeError(f"{self.name}: arguments {got}, the kernel takes {self.signature}")
        values = [_value(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        error = ctypes.create_string_buffer(500)
        order, seed = ORDERS[self.order], ctypes.c_uint64(self.seed)
        if self.function(_three(grid), _three(block), shared_mem, pointers, order, seed, error, len(error)):
            raise RuntimeError(f"{self.name}: {error.value.decode()}")


def _describe(argument: Any) -> tuple[str, ...]:
    """What kernel parameters the argument fits, as `signature` in cuda_on_host.h writes them."""
    if isinstance(argument, np.ndarray):
        return ("P8",)
    if isinstance(argument, np.uintp) and not argument:
        return ("P8", "u8")  # a null pointer
    if isinstance(argument, np.generic):
        return (f"{argument.dtype.kind}{argument.dtype.itemsize}",)
    return (type(argument).__name__,)


def _value(argument: np.ndarray | np.generic) -> Any:
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise ValueError("a kernel argument is not contiguous")
        return ctypes.c_void_p(argument.ctypes.data)
    return _SCALARS[argument.dtype.name](argument.item())


def _three(size: Sequence[int]) -> Any:
    return (ctypes.c_uint * 3)(*(*size, 1, 1, 1)[:3])
