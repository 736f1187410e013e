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
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray: the reference text is the same for both
Kernel = tuple[Callable[..., Any], Callable[..., Any]]

BACKENDS = ("auto", "reference", "cpu", "cuda")

# (operator, backend) -> module with `forward` and `backward`, imported at first use.
KERNELS: dict[tuple[str, str], str] = {
    ("conv2d", "cpu"): "epcore.kernels.cpu.conv2d",
    ("depthwise_conv2d", "cpu"): "epcore.kernels.cpu.depthwise_conv2d",
    ("conv_transpose2d", "cpu"): "epcore.kernels.cpu.conv_transpose2d",
    ("batch_norm", "cpu"): "epcore.kernels.cpu.batch_norm",
    ("swish", "cpu"): "epcore.kernels.cpu.swish",
    ("eswish", "cpu"): "epcore.kernels.cpu.eswish",
    ("sigmoid", "cpu"): "epcore.kernels.cpu.sigmoid",
    ("relu", "cpu"): "epcore.kernels.cpu.relu",
    ("prelu", "cpu"): "epcore.kernels.cpu.prelu",
    ("max_pool", "cpu"): "epcore.kernels.cpu.max_pool",
    ("avg_pool", "cpu"): "epcore.kernels.cpu.avg_pool",
    ("global_mean", "cpu"): "epcore.kernels.cpu.global_mean",
    ("squeeze_excite", "cpu"): "epcore.kernels.cpu.squeeze_excite",
    ("add", "cpu"): "epcore.kernels.cpu.add",
    ("multiply", "cpu"): "epcore.kernels.cpu.multiply",
    ("concat", "cpu"): "epcore.kernels.cpu.concat",
    ("drop_connect", "cpu"): "epcore.kernels.cpu.drop_connect",
    ("mse", "cpu"): "epcore.kernels.cpu.mse",
    ("conv2d", "cuda"): "epcore.kernels.cuda.conv2d",
    ("depthwise_conv2d", "cuda"): "epcore.kernels.cuda.depthwise_conv2d",
    ("conv_transpose2d", "cuda"): "epcore.kernels.cuda.conv_transpose2d",
    ("batch_norm", "cuda"): "epcore.kernels.cuda.batch_norm",
    ("swish", "cuda"): "epcore.kernels.cuda.swish",
    ("eswish", "cuda"): "epcore.kernels.cuda.eswish",
    ("sigmoid", "cuda"): "epcore.kernels.cuda.sigmoid",
    ("relu", "cuda"): "epcore.kernels.cuda.relu",
    ("prelu", "cuda"): "epcore.kernels.cuda.prelu",
    ("max_pool", "cuda"): "epcore.kernels.cuda.max_pool",
    ("avg_pool", "cuda"): "epcore.kernels.cuda.avg_pool",
    ("global_mean", "cuda"): "epcore.kernels.cuda.global_mean",
    ("squeeze_excite", "cuda"): "epcore.kernels.cuda.squeeze_excite",
    ("add", "cuda"): "epcore.kernels.cuda.add",
    ("multiply", "cuda"): "epcore.kernels.cuda.multiply",
    ("concat", "cuda"): "epcore.kernels.cuda.concat",
    ("drop_connect", "cuda"): "epcore.kernels.cuda.drop_connect",
    ("mse", "cuda"): "epcore.kernels.cuda.mse",
}

_backend: ContextVar[str] = ContextVar("epcore_backend", default="auto")


def is_cupy(x: object) -> bool:
    """True for a CuPy array, without importing CuPy."""
    return type(x).__module__.partition(".")[0] == "cupy"


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


def kernel(op_name: str, *arrays: object) -> Kernel:
    """`(forward, backward)` of an operator for these arrays under the current backend.

    Raises TypeError where a named backend cannot take the arrays and KeyError for an unknown operator.
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
    if name == "reference":
        module = import_module(f"epcore.ops.{op_name}")
    else:
        module = import_module(KERNELS[op_name, name])
    return module.forward, module.backward
