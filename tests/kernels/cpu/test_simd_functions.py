"""The functions of one number in `epcore.kernels.cpu.simd`, and division, over the whole of float32.

Ordinary tests take every 401st bit pattern (10.7 million) and the edges of every exponent; the slow ones take all 2^32.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.extending import _Intrinsic

from epcore.kernels.cpu import simd
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load, store

EPS = float(np.finfo(np.float32).eps)
DENORMAL = 2.0**-149  # the smallest of float32: what a result is rounded to that is too small for a normal number
CHUNK = 1 << 22
# exp(-x) leaves float32's range here; what is left of a result then is below FLOOR.
EDGE = -88.7
Function = Callable[[np.ndarray], np.ndarray]

# name -> (the function in double, error in eps, largest true magnitude below EDGE).
# Errors: half an eps for each of the roundings that reach the result undiminished. exp(r): its last step, over 0.7 (0.7 eps);
# the two steps that make r, each half a digit of 0.35 (0.25); the step before the last, times r (0.17); a rounded product in
# each of these where multiply-add is not fused (0.35). One plus that: 0.5. The division: 0.5.
ORACLES: dict[str, tuple[Function, float, float]] = {
    "one_plus_exp_minus": (lambda x: 1 + np.exp(-x), 2.0, 0.0),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5, 2.0**-126),
    "swish": (lambda x: x / (1 + np.exp(-x)), 2.5, 2.7e-37),
}
UNDEFINED_FOR_NAN = {"one_plus_exp_minus"}
OF_A_VECTOR = {"horizontal_sum"}  # one argument, but what it gives is not lane by lane: tests/kernels/cpu/test_cpu_simd.py


def compiled(name: str) -> Any:
    """The function over an array (x, y), as Numba compiles it."""
    function = getattr(simd, name)

    @njit(error_model="numpy")
    def run(x, y):  # type: ignore[no-untyped-def]
        for i in range(0, x.size, LANES):
            store(y, i, function(load(x, i)))

    return run


@njit(error_model="numpy")
def divide(a, b, y):  # type: ignore[no-untyped-def]
    for i in range(0, a.size, LANES):
        store(y, i, load(a, i) / load(b, i))


def floats(first: int, last: int, step: int = 1) -> np.ndarray:
    """The float32 whose bits are first, first + step, ... below last; repeated to fill vectors."""
    bits = np.arange(first, last, step, dtype=np.uint64).astype(np.uint32)
    return np.resize(bits, -(-bits.size // LANES) * LANES).view(np.float32)


def edges() -> np.ndarray:
    """Both signs, every exponent (denormals, infinity and NaN among them), the mantissas at its ends and in its middle."""
    mantissas = np.array([0, 1, 2, 3, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFD, 0x7FFFFE, 0x7FFFFF], np.uint32)
    signs = np.array([0, 1 << 31], np.uint32)
    exponents = np.arange(256, dtype=np.uint32) << np.uint32(23)
    bits = (signs[:, None, None] | exponents[:, None] | mantissas).ravel()
    return np.resize(bits, -(-bits.size // LANES) * LANES).view(np.float32)


def sample() -> Iterator[np.ndarray]:
    yield edges()
    yield floats(0, 1 << 32, 401)


def everything() -> Iterator[np.ndarray]:
    for first in range(0, 1 << 32, CHUNK):
        yield floats(first, first + CHUNK)


def worst(name: str, run: Callable[[np.ndarray, np.ndarray], None], x: np.ndarray) -> float:
    """Largest error in units of what is allowed; infinity where NaN or infinity is wrong."""
    oracle, bound, floor = ORACLES[name]
    if name in UNDEFINED_FOR_NAN:
        x = x[: x.size // LANES * LANES].copy()
        x[np.isnan(x)] = 0
    y = np.empty_like(x)
    run(x, y)
    with np.errstate(all="ignore"):
        true = oracle(x.astype(np.float64))
        allowed = bound * EPS * np.abs(true) + DENORMAL + np.where(x < EDGE, floor, 0)
        overflown = (x < EDGE) & (true > np.finfo(np.float32).max * (1 - bound * EPS)) & np.isinf(y)
        same = (y == true) | (np.isnan(y) & np.isnan(true)) | overflown
        units = np.where(same, 0.0, np.abs(y - true) / allowed)
    return float(np.nan_to_num(units, nan=np.inf).max())


@pytest.mark.parametrize(
    "inputs", [pytest.param(sample, id="sample"), pytest.param(everything, id="everything", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ORACLES)
def test_every_function_of_one_number(name: str, inputs: Callable[[], Iterator[np.ndarray]]) -> None:
    run = compiled(name)
    for x in inputs():
        units = worst(name, run, x)
        assert units <= 1, f"{name} between {x[0]} and {x[-1]}: {units:.3g} times the error allowed"


@pytest.mark.parametrize(
    "inputs", [pytest.param(sample, id="sample"), pytest.param(everything, id="everything", marks=pytest.mark.slow)]
)
def test_division_is_ieee_division(inputs: Callable[[], Iterator[np.ndarray]]) -> None:
    rng = np.random.default_rng(0)
    for x in inputs():
        others = rng.integers(0, 1 << 32, x.size, dtype=np.uint64).astype(np.uint32).view(np.float32)
        for a, b in ((np.ones_like(x), x), (x, np.full_like(x, 3)), (x, others), (others, x)):
            y = np.empty_like(x)
            divide(a, b, y)
            with np.errstate(all="ignore"):
                exact = a / b
                wrong = (y.view(np.uint32) != exact.view(np.uint32)) & ~(np.isnan(y) & np.isnan(exact))
            assert not wrong.any(), f"{a[wrong][0]} / {b[wrong][0]} is {exact[wrong][0]}, not {y[wrong][0]}"


def test_no_function_is_left_out() -> None:
    of_one = {
        name
        for name, value in vars(simd).items()
        if isinstance(value, _Intrinsic) and len(inspect.signature(value._defn).parameters) == 2
    }
    assert of_one == ORACLES.keys() | OF_A_VECTOR


def test_a_wrong_tail_is_noticed() -> None:
    """Faults that have been or could be: NaN for infinite denominators, a tail cut off, a coarse reciprocal."""
    right = compiled("swish")

    def planted(spoil: Callable[[np.ndarray, np.ndarray], None]) -> Callable[[np.ndarray, np.ndarray], None]:
        def run(x: np.ndarray, y: np.ndarray) -> None:
            right(x, y)
            spoil(x, y)

        return run

    def nan_at_infinity(x: np.ndarray, y: np.ndarray) -> None:
        y[(x < -89) & ~np.isnan(x)] = np.nan

    def cut_off(x: np.ndarray, y: np.ndarray) -> None:
        np.copyto(y, x / np.float32(np.exp(87)), where=x < -87)

    def coarse(x: np.ndarray, y: np.ndarray) -> None:
        y *= np.float32(1 + 2.0**-12)

    for spoil in (nan_at_infinity, cut_off, coarse):
        with np.errstate(all="ignore"):
            assert worst("swish", planted(spoil), edges()) > 1
