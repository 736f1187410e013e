"""Which implementation of an operator runs: the reference text, the Numba kernel or the CUDA kernel.

The type of the arrays picks the array module (`array_module`), the backend picks the implementation:

* `reference`  the functions of `epcore.ops`, on NumPy or CuPy arrays of any float dtype
* `cpu`        Numba kernels, float32 NumPy arrays
* `cuda`       CUDA kernels, CuPy arrays
* `auto`       (the default) `cuda` for CuPy arrays, `cpu` for float32 NumPy arrays, else `reference`

A backend that is named is used or raises; only `auto` chooses.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray: the reference text is the same for both
Kernel = tuple[Callable[..., Any], Callable[..., Any]]

BACKENDS = ("auto", "reference", "cpu", "cuda")

# Where a backend keeps its operators, one module with `forward` and `backward` each, named as the operator is.
_PACKAGES = {"reference": "epcore.ops", "cpu": "epcore.kernels.cpu", "cuda": "epcore.kernels.cuda"}

_backend: ContextVar[str] = ContextVar("epcore_backend", default="auto")


def is_cupy(x: object) -> bool:
    """True for a CuPy array, without importing CuPy."""
    return type(x).__module__.partition(".")[0] == "cupy"


def to_numpy(array: Array) -> np.ndarray:
    """A NumPy array as it is, a CuPy array copied to the host."""
    return array.get() if is_cupy(array) else np.asarray(array)


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
def kernel_module(op: str, backend: str) -> ModuleType:
    """The module with `forward` and `backward` of an operator on a backend, imported at first use.

    Raises ValueError for an unknown operator, for a backend without modules of its own ("auto" chooses one that has them)
    and for an operator that the backend has no kernel of.
    """
    from epcore.ops import OPS  # here: the operators themselves import array_module

    if op not in OPS:
        raise ValueError(f"unknown operator {op!r}: expected one of {', '.join(OPS)}")
    if backend not in _PACKAGES:
        raise ValueError(f"backend {backend!r} has no kernels: expected one of {', '.join(_PACKAGES)}")
    name = f"{_PACKAGES[backend]}.{op}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # the kernel is there, something it needs is not
        raise ValueError(f"{op} has no kernel on backend {backend!r}: there is no module {name}") from None


def kernel(op_name: str, *arrays: object) -> Kernel:
    """`(forward, backward)` of an operator for these arrays under the current backend.

    Raises TypeError where a named backend cannot take the arrays and ValueError for an unknown operator.
    """
    name = _backend.get()
    on_gpu = array_module(*arrays).__name__ == "cupy"
    if name == "auto":
        single = all(getattr(array, "dtype", None) == np.float32 for array in arrays if array is not None)
        name = "cuda" if on_gpu else "cpu" if single else "reference"
    elif name == "cuda" and not on_gpu:
        raise TypeError(f"backend 'cuda' takes CuPy arrays, {op_name} got NumPy arrays")
    elif name == "cpu" and on_gpu:
        raise TypeError(f"backend 'cpu' takes NumPy arrays, {op_name} got CuPy arrays")
    module = kernel_module(op_name, name)
    return module.forward, module.backward
