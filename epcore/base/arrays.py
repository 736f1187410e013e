"""Arrays of NumPy and of CuPy: which they are, where they are, whether they are numbers. Nothing here imports CuPy."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]  # or cupy.ndarray, which has no annotations: the text is the same for both


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
