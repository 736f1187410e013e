"""The vector type of the CPU kernels against NumPy, and the cache of compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from test_simd_functions import compiled

from epcore.kernels.cpu.arrays import blocks, empty, narrow, unblock, widen
from epcore.kernels.cpu.processor import LANES, PROCESSOR, TILE_ROWS
from epcore.kernels.cpu.reduction import gather, period, spread
from epcore.kernels.cpu.simd import (
    fma,
    fold,
    horizontal_sum,
    load,
    load_block,
    load_partial,
    load_strip,
    outer,
    slide,
    slide_products,
    splat,
    store,
    store_block,
    store_partial,
    store_strip,
    where_greater,
)

STRIDE, TAPS, STRIP = 2, 3, 4
PIXELS = (STRIP - 1) * STRIDE + TAPS
SUMS = 2 * TAPS


@njit(error_model="numpy")
def _everything(x, out, partial, total):  # type: ignore[no-untyped-def]
    """One compilation for all functions: every result has its own stretch of `out`, 64 vectors long."""
    step = 64 * LANES
    a, b, c = load(x, 1), load(x, 40), load(x, 80)
    store(out, 0, fma(a, b, c))
    store(out, LANES, a + b)
    store(out, 2 * LANES, 2.0 * a - b)
    store(out, 3 * LANES, a / (3.0 + b * b))
    store(out, 4 * LANES, where_greater(a, b, c, splat(-1.0, 1)))
    store_block(out, step, LANES, load_block(x, 3, 5, TAPS))
    store_block(out, 2 * step, LANES, load_strip(x, 100, -2, 5, LANES, PIXELS))
    pixels, taps = load_block(x, 0, LANES, PIXELS), load_block(x, 200, LANES, TAPS)
    store_block(out, 3 * step, LANES, slide(splat(1.0, STRIP), pixels, taps, STRIDE))
    gradients = load_block(x, 300, LANES, STRIP)
    products = slide_products(splat(0.0, SUMS), pixels, gradients, STRIDE)
    store_block(out, 4 * step, LANES, fold(products, taps))
    store_block(out, 5 * step, LANES, outer(splat(1.0, 6), x, 7, 11, load_block(x, 50, LANES, 2)))
    store_strip(out, 6 * step, LANES, pixels, 2)
    for count in range(1, LANES + 2):
        store_partial(partial, count * 2 * LANES, load_partial(x, 9, count) + 1.0, count)
    total[0] = horizontal_sum(a)


def _close(found: np.ndarray, exact: np.ndarray, largest: np.ndarray, roundings: int) -> None:
    """Each rounding is by at most half an epsilon of what was summed until then, which is no more than `largest`."""
    assert (np.abs(found - exact) <= roundings * np.finfo(np.float32).eps / 2 * largest).all()


def test_vectors_against_numpy() -> None:
    x = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    room = np.zeros((7, 64, LANES), np.float32)
    partial = np.zeros((LANES + 2, 2 * LANES), np.float32)
    total = np.zeros(1, np.float32)
    _everything(x, room.reshape(-1), partial.reshape(-1), total)

    def vectors(start: int, step: int, count: int) -> np.ndarray:
        return np.stack([x[start + r * step :][:LANES] for r in range(count)])

    a, b, c = x[1:][:LANES], x[40:][:LANES], x[80:][:LANES]
    double = a.astype(np.float64) * b + c
    _close(room[0, 0], double, np.abs(a * b) + np.abs(c), 2)
    np.testing.assert_array_equal(room[0, 1], a + b)
    np.testing.assert_array_equal(room[0, 2], 2 * a - b)
    wide = b.astype(np.float64)
    _close(room[0, 3], a / (3 + wide * wide), np.abs(a / (3 + wide * wide)), 3)
    np.testing.assert_array_equal(room[0, 4], np.where(a > b, c, -1))
    np.testing.assert_array_equal(room[1, :TAPS], vectors(3, 5, TAPS))
    strip = np.zeros((PIXELS, LANES), np.float32)
    strip[2:7] = vectors(100, LANES, 5)
    np.testing.assert_array_equal(room[2, :PIXELS], strip)
    pixels, taps, gradients = vectors(0, LANES, PIXELS), vectors(200, LANES, TAPS), vectors(300, LANES, STRIP)
    pixels, taps, gradients = (array.astype(np.float64) for array in (pixels, taps, gradients))
    slid = np.stack([pixels[r * STRIDE : r * STRIDE + TAPS] * taps for r in range(STRIP)], axis=1)
    _close(room[3, :STRIP], 1 + slid.sum(0), 1 + np.abs(slid).sum(0), 2 * TAPS)
    products = np.stack([pixels[t : t + (STRIP - 1) * STRIDE + 1 : STRIDE] * gradients for t in range(TAPS)], axis=1)
    _close(room[4, :TAPS], products.sum(0), np.abs(products).sum(0), 2 * STRIP)
    tile = x[7 : 7 + 33 : 11][:, None, None] * vectors(50, LANES, 2).astype(np.float64)
    _close(room[5, :6], (1 + tile).reshape(6, LANES), (1 + np.abs(tile)).reshape(6, LANES), 2)
    np.testing.assert_array_equal(room[6, :2], pixels[:2])
    assert not room[6, 2:].any()
    _close(total[0], a.astype(np.float64).sum(), np.abs(a).sum(), LANES)
    for count in range(1, LANES + 2):
        kept = min(count, LANES)
        np.testing.assert_array_equal(partial[count, :kept], x[9 : 9 + kept] + 1)
        assert not partial[count, kept:].any(), "a partial store wrote too far"


@pytest.mark.parametrize("channels", [1, 8, LANES, LANES + 1, 24, 28, 40, 41, 144, 240])
def test_channels_are_covered_once(channels: int) -> None:
    x = np.arange(3 * channels, dtype=np.float32).reshape(3, channels)
    wide = widen(x)
    assert wide.shape[1] == max(channels, LANES)
    np.testing.assert_array_equal(narrow(wide, channels), x)
    C = wide.shape[1]
    starts = [min(block * LANES, C - LANES) for block in range(blocks(C))]
    np.testing.assert_array_equal(unblock(np.concatenate([wide[:, c : c + LANES] for c in starts], axis=1), C), wide)
    slots = spread(x)[:, 0]
    assert slots.shape[1] == period(channels)
    assert period(channels) % LANES == period(channels) % channels == 0
    np.testing.assert_array_equal(gather(slots, channels), x * (period(channels) // channels))


def test_outputs_start_on_a_cache_line() -> None:
    for size in (1, 5, 1000, 1 << 20):
        array = empty((size, 3))
        assert array.ctypes.data % 64 == 0
        assert array.shape == (size, 3)
        assert array.flags.c_contiguous


def _python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_new_process_loads_compiled_kernels_and_notices_changed_sources(tmp_path: Path) -> None:
    use = """
import numpy as np
from epcore.kernels.cpu import cache
{change}
from epcore.kernels.cpu import swish
swish.forward(np.ones(100, np.float32))
print(sum(swish.activate.kernel.stats.cache_hits.values()), sum(swish.activate.kernel.stats.cache_misses.values()))
"""
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert _python(use.format(change=""), **cache) == "0 1"
    assert _python(use.format(change=""), **cache) == "1 0"
    assert _python(use.format(change="cache._DIGEST = 'another simd.py'"), **cache) == "0 1"


@pytest.mark.skipif(not PROCESSOR.is_x86, reason="names of x86 registers; for AArch64 see tests/kernels/cpu/test_aarch64.py")
def test_instructions_are_those_of_the_processor() -> None:
    """Code for an older family runs here whatever it contains; on that family itself it would end the process."""
    swish, x = compiled("swish"), np.zeros(LANES, np.float32)
    swish(x, x.copy())
    _everything(np.zeros(4096, np.float32), np.zeros(7 * 64 * LANES, np.float32), np.zeros(4096, np.float32), x)
    code = "".join(text for function in (_everything, swish) for text in function.inspect_asm().values())
    features = PROCESSOR.features
    assert ("%zmm" in code) == ("avx512f" in features)
    assert ("%ymm" in code) == ("avx" in features)
    assert ("vfmadd" in code or "vfmsub" in code or "vfnmadd" in code) == ("fma" in features)
    assert "fmaf" not in code, "a multiply-add that is a call of a function for every lane"
    assert "vrcp" not in code and "rcpps" not in code, "an estimate of 12 or 14 bits instead of a division"


def test_tiles_fit_the_registers() -> None:
    """Sums, three vectors of columns and one scalar."""
    registers = 32 if LANES == 16 else 16
    assert registers >= TILE_ROWS * 3 + 4
