"""Which implementation of an operator runs: the reference text, the Numba kernel or the CUDA kernel.

The type of the arrays picks the array module (`array_module`), the backend picks the implementation:

* `reference`  the functions of `epcore.ops`, on NumPy or CuPy arrays of any float dtype
* `cpu`        Numba kernels, float32 NumPy arrays
* `cuda`       CUDA kernels, CuPy arrays
* `auto`       (the default) `cuda` for CuPy arrays, `cpu` for float32 NumPy arrays, else `reference`; `reference` too for an
               operator that has no kernel there

A backend that is named is used or raises; only `auto` chooses.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[
    Any, np.dtype[Any]
]  # or cupy.ndarray, which has no types of its own: the text is the same for both
Kernel = tuple[Callable[..., Any], Callable[..., Any]]

BACKENDS = ("auto", "reference", "cpu", "cuda")

# Where a backend keeps its operators, one module with `forward` and `backward` each, named as the operator is.
_PACKAGES = {"reference": "epcore.ops", "cpu": "epcore.kernels.cpu", "cuda": "epcore.kernels.cuda"}

_backend: ContextVar[str] = ContextVar("epcore_backend", default="auto")


def is_cupy(x: object) -> bool:
    """True for a CuPy array, without importing CuPy."""
    return type(x).__module__.partition(".")[0] == "cupy"


def to_numpy(array: Any) -> np.ndarray:
    """A NumPy array as it is, a CuPy array copied to the host."""
    return np.asarray(array.get() if is_cupy(array) else array)


def to_device_of(array: Array, x: Array) -> Array:
    """x on the side where `array` is: a CuPy array on its GPU, or a NumPy array."""
    return to_numpy(x) if not is_cupy(array) else sys.modules["cupy"].asarray(x)


def array_module(*arrays: object) -> ModuleType:
    """`numpy` or `cupy`, whichever the arrays belong to. None is skipped.

    Raises TypeError for anything else and for arrays of both modules.
    """
    kinds = set()
    for array in arrays:
        if array is None:
            continue
        if is_cupy(array):
            kinds.add("cupy")
        elif isinstance(array, (np.ndarray, np.generic)):
            kinds.add("numpy")
        else:
            raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}")
    if len(kinds) > 1:
        raise TypeError("NumPy and CuPy arrays are mixed in one call: move them all to one side first")
    return sys.modules["cupy"] if kinds == {"cupy"} else np


def not_finite(array: Array) -> int:
    """How many values of a NumPy or CuPy array are NaN or infinite."""
    finite = array_module(array).isfinite(array)
    return 0 if bool(finite.all()) else int((~finite).sum())


def require_finite(array: Array, name: str) -> None:
    """Raises ValueError, with the name and how many they are, where values are NaN or infinite."""
    if count := not_finite(array):
        raise ValueError(f"{name} has {count} values that are NaN or infinite")


def check_backend(name: str) -> str:
    """The name itself. Raises ValueError for an unknown backend."""
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: expected one of {', '.join(BACKENDS)}")
    return name


def current_backend() -> str:
    return _backend.get()


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the block every operator runs on this backend: `with use_backend("reference"): model(x)`."""
    token = _backend.set(check_backend(name))
    try:
        yield
    finally:
        _backend.reset(token)


@cache
def has_kernel(op: str, backend: str) -> bool:
    """Whether a backend has a module of an operator.

    Raises ValueError for an unknown operator and for a backend without modules of its own ("auto" chooses one that has them).
    """
    from epcore.ops import OPS  # here: the operators themselves import array_module

    if op not in OPS:
        raise ValueError(f"unknown operator {op!r}: expected one of {', '.join(OPS)}")
    if backend not in _PACKAGES:
        raise ValueError(f"backend {backend!r} has no kernels: expected one of {', '.join(_PACKAGES)}")
    return find_spec(_module_name(op, backend)) is not None


@cache
def kernel_module(op: str, backend: str) -> ModuleType:
    """The module with `forward` and `backward` of an operator on a backend, imported at first use.

    Raises ValueError as `has_kernel` does, and for an operator that the backend has no kernel of.
    """
    if not has_kernel(op, backend):
        raise ValueError(f"{op} has no kernel on backend {backend!r}: there is no module {_module_name(op, backend)}")
    return import_module(_module_name(op, backend))


def _module_name(op: str, backend: str) -> str:
    return f"{_PACKAGES[backend]}.{op}"


def automatic(on_gpu: bool, single: bool) -> str:
    """The backend that `auto` stands for, for arrays on a GPU or not, all of them float32 or not."""
    return "cuda" if on_gpu else "cpu" if single else "reference"


def kernel(op_name: str, *arrays: object) -> Kernel:
    """`(forward, backward)` of an operator for these arrays under the current backend.

    Raises TypeError where a named backend cannot take the arrays, ValueError for an unknown operator and where a named backend
    has no kernel of it.
    """
    name = _backend.get()
    on_gpu = array_module(*arrays).__name__ == "cupy"
    if name == "auto":
        single = all(getattr(array, "dtype", None) == np.float32 for array in arrays if array is not None)
        name = automatic(on_gpu, single)
        name = name if has_kernel(op_name, name) else "reference"
    elif name == "cuda" and not on_gpu:
        raise TypeError(f"backend 'cuda' takes CuPy arrays, {op_name} got NumPy arrays")
    elif name == "cpu" and on_gpu:
        raise TypeError(f"backend 'cpu' takes NumPy arrays, {op_name} got CuPy arrays")
    module = kernel_module(op_name, name)
    return module.forward, module.backward
