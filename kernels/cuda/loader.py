"""Finds the `.cu` files, compiles them at first use, once per device, and hands out kernels by name.

CuPy keeps the compiled machine code on disk (~/.cupy/kernel_cache, or CUPY_CACHE_DIR), so a program's second start compiles
nothing. The tests put another compiler in CuPy's place with `use_compiler`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from types import ModuleType
from typing import Any, Protocol

OPTIONS = ("--std=c++17",)
WIDTHS = {"float": (4, 1), "double": (1,)}  # channels a thread loads at once: 16 bytes, or one value


class Module(Protocol):
    """What is used of `cupy.RawModule`."""

    def get_function(self, name: str, /) -> Callable[..., None]: ...


Compiler = Callable[[str, str, Sequence[str]], Module]  # (file name, CUDA C++, kernels wanted)


@dataclass(frozen=True)
class Source:
    """One `.cu` file and every template instance of it that a launcher may ask for.

    kernels: C++ names with {T} for float or double and {V} for the vector width; single: further ones, float only.
    """

    file: str
    kernels: tuple[str, ...]
    single: tuple[str, ...] = ()

    def instances(self, T: str) -> list[str]:
        patterns = self.kernels + (self.single if T == "float" else ())
        names = (pattern.format(T=T, V=V) for pattern in patterns for V in WIDTHS[T])
        return list(dict.fromkeys(names))

    def code(self) -> str:
        """CUDA C++ with its own headers put in place: one text that needs no include path."""
        return _inline(f"{self.file}.cu", set())


def _inline(file: str, seen: set[str]) -> str:
    """A file's text with every `#include "..."` replaced by that file, each once."""
    seen.add(file)
    text = resources.files("epcore.kernels.cuda").joinpath(file).read_text(encoding="utf-8")
    pieces = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = re.fullmatch(r'#include "(.+)"', line)
        if match is None:
            pieces.append("" if line == "#pragma once" else line)
        elif match[1] not in seen:
            pieces.append(f'#line 1 "{match[1]}"\n{_inline(match[1], seen)}\n#line {number + 1} "{file}"')
    return "\n".join(pieces)


@cache
def require_cupy() -> ModuleType:
    """CuPy, ready to use. Raises RuntimeError that says what is missing: CuPy, the driver or a GPU."""
    try:
        cupy = import_module("cupy")
    except ImportError as error:
        missing = f"CuPy cannot be imported ({error}); install epcore[cuda13] or epcore[cuda12]"
        raise RuntimeError(f"backend 'cuda' cannot run: {missing}") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"backend 'cuda' cannot run: no usable NVIDIA driver or GPU ({error})") from None
    if count == 0:
        raise RuntimeError("backend 'cuda' cannot run: no NVIDIA GPU is visible (see nvidia-smi and CUDA_VISIBLE_DEVICES)")
    return cupy


def _compile_with_cupy(file: str, code: str, kernels: Sequence[str]) -> Module:
    module: Module = require_cupy().RawModule(code=code, options=OPTIONS, name_expressions=list(kernels))
    return module


_compiler: Compiler = _compile_with_cupy
_functions: dict[tuple[Any, ...], Callable[..., None]] = {}
_modules: dict[tuple[Any, ...], Module] = {}


@contextlib.contextmanager
def use_compiler(compiler: Compiler) -> Iterator[None]:
    """Within the block kernels come from `compiler` and arrays are NumPy's: how the tests run without a GPU."""
    global _compiler
    before, _compiler = _compiler, compiler
    try:
        yield
    finally:
        _compiler = before


def on_gpu() -> bool:
    """Whether kernels run on a GPU, and so take CuPy arrays; False under `use_compiler`."""
    return _compiler is _compile_with_cupy


def current_device() -> int:
    return require_cupy().cuda.runtime.getDevice() if on_gpu() else 0


def function(source: Source, T: str, kernel: str) -> Callable[..., None]:
    """The compiled kernel, for the current device. Raises KeyError for an instance the source does not list."""
    key = (_compiler, current_device(), source.file, T)
    found = _functions.get((*key, kernel))
    if found is None:
        names = source.instances(T)
        if kernel not in names:
            raise KeyError(f"{source.file}.cu lists no kernel {kernel}")
        if key not in _modules:
            _modules[key] = _compiler(source.file, source.code(), names)
        found = _functions[*key, kernel] = _modules[key].get_function(kernel)
    return found
