"""Sums over pixels, added up in double: for every sum in `epcore/ops` that is as long as a picture is large.

NumPy adds in pairs only along the contiguous axis. Over height and width it adds row after row to one running sum, which may be
off by K / 2 epsilons of what K float32 terms are together: where a flat area repeats one value, every addition rounds the same
way, and the error grows as K, not as its square root. In double it is 2^29 times smaller: what is left is the one rounding of
the result to the operator's dtype, which is the caller's. Everything here returns double (or wider, where the arrays are).

Other programs' kernels may well add in one float32 chain and are not wrong for it: `in_one_chain` shows what that costs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from epcore.base.arrays import Array, array_module

Axes = int | tuple[int, ...] | None
_BLOCK = 1 << 14  # rows that are widened at a time
_narrow: ContextVar[bool] = ContextVar("epcore_sums_narrow", default=False)


@contextlib.contextmanager
def in_one_chain() -> Iterator[None]:
    """Within the block the arrays' own dtype is summed in, row after row: what a plain float32 kernel gives."""
    token = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(token)


def _wide(*arrays: Array) -> np.dtype[Any]:
    dtypes = [array.dtype for array in arrays]
    return np.result_type(*dtypes) if _narrow.get() else np.result_type(np.float64, *dtypes)


def sum_in_double(x: Array, axes: Axes = None, *, keepdims: bool = False) -> Array:
    """The sum of x over `axes`; None: over all."""
    total: Array = x.sum(axis=axes, dtype=_wide(x), keepdims=keepdims)
    return total


def mean_in_double(x: Array, axes: Axes = None, *, keepdims: bool = False) -> Array:
    """The mean of x over `axes`; None: over all."""
    mean: Array = x.mean(axis=axes, dtype=_wide(x), keepdims=keepdims)
    return mean


def dot_in_double(a: Array, b: Array, axes: Axes = None, *, keepdims: bool = False) -> Array:
    """The sum of a * b over `axes` of the product (they may broadcast). The product of two float32 is exact in double."""
    total: Array = array_module(a, b).multiply(a, b, dtype=_wide(a, b)).sum(axis=axes, keepdims=keepdims)
    return total


def matmul_in_double(a: Array, b: Array) -> Array:
    """a (I,K) @ b (K,J) -> (I,J), block after block of K, so that no copy in double is as large as a map."""
    wide = _wide(a, b)
    total: Array = array_module(a, b).zeros((a.shape[0], b.shape[1]), wide)
    for start in range(0, a.shape[1], _BLOCK):
        rows = slice(start, start + _BLOCK)
        total += a[:, rows].astype(wide, copy=False) @ b[rows].astype(wide, copy=False)
    return total
