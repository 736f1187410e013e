"""The fused kernels' own building blocks: swish, tiles, ranges of sums, atomic counters, the crew."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numba import njit

from epcore.kernels.cpu.fused.threads import LINE, Crew, fetch_add, load_shared, wait
from epcore.kernels.cpu.fused.tiles import load_tile, sum_range
from epcore.kernels.cpu.simd import LANES, load, load_block, splat, store, store_block, swish


@njit(error_model="numpy")
def _swish(x, y):  # type: ignore[no-untyped-def]
    for i in range(0, x.size, LANES):
        store(y, i, swish(load(x, i)))


@njit(error_model="numpy")
def _blocks(x, out, first, last):  # type: ignore[no-untyped-def]
    store_block(out, 0, LANES, load_tile(x, 3, 50, 7, 2, 3))
    store(out, 6 * LANES, sum_range(splat(1.0, 1), load_block(x, 0, LANES, 5), first, last))


def test_swish_is_accurate_everywhere() -> None:
    x = np.concatenate([np.linspace(-100, 100, 1 << 18), np.linspace(-1e-3, 1e-3, 1 << 10)]).astype(np.float32)
    y = np.empty_like(x)
    _swish(x, y)
    exact = x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64)))
    inside = np.abs(x) < 85
    # Relative error: exponential 1e-7, the sum and the quotient half a digit each, rounding of the factors.
    assert (np.abs(y - exact) / np.abs(exact).clip(1e-38))[inside].max() <= 4 * np.finfo(np.float32).eps
    assert np.abs(y - exact)[~inside].max() <= 4 * np.finfo(np.float32).eps * 100


def test_swish_of_every_magnitude() -> None:
    """Beyond the range of exp nothing overflows into the result: x on the right, next to nothing on the left."""
    x = np.float32(10.0) ** np.linspace(2.1, 38.5, 64 * LANES).astype(np.float32)
    y = np.empty_like(x)
    _swish(x, y)
    assert np.array_equal(y, x)
    _swish(-x, y)
    assert (np.abs(y) <= x / np.exp(86)).all()


def test_swish_of_special_values() -> None:
    x = np.zeros(LANES, np.float32)
    x[:5] = [np.nan, np.inf, -np.inf, 3e38, -3e38]
    y = np.empty_like(x)
    _swish(x, y)
    assert np.isnan(y[0])
    assert y[1] == np.inf
    assert y[3] == np.float32(3e38)
    assert y[5] == 0


@pytest.mark.parametrize(("first", "last"), [(0, 5), (2, 5), (0, 3), (4, 4)])
def test_tiles_and_ranges(first: int, last: int, rng: np.random.Generator) -> None:
    x = rng.normal(size=400).astype(np.float32)
    out = np.empty(7 * LANES, np.float32)
    _blocks(x, out, first, last)
    tile = [x[3 + r * 50 + v * 7 :][:LANES] for r in range(2) for v in range(3)]
    assert np.array_equal(out[: 6 * LANES].reshape(6, LANES), tile)
    total = np.ones(LANES, np.float32)
    for vector in x[: 5 * LANES].reshape(5, LANES)[first:last]:
        total += vector
    assert np.array_equal(out[6 * LANES :], total)


def test_waiting_lets_nobody_through_early() -> None:
    threads, rounds = 3, 200
    counters, barrier, early = np.zeros(LINE, np.int64), np.zeros(LINE, np.int64), np.zeros(threads, np.int64)

    @njit(nogil=True)
    def job(counters, barrier, early, thread):  # type: ignore[no-untyped-def]
        for r in range(rounds):
            fetch_add(counters, 0, 1)
            fetch_add(barrier, 0, 1)
            wait(barrier, 0, (2 * r + 1) * threads)
            if load_shared(counters, 0) != (r + 1) * threads:
                early[thread] += 1
            fetch_add(barrier, 0, 1)
            wait(barrier, 0, (2 * r + 2) * threads)

    job(np.zeros(LINE, np.int64), np.full(LINE, 1 << 40), np.zeros(1, np.int64), 0)  # compiled; the barrier is long open
    Crew(threads).run(lambda thread: job(counters, barrier, early, thread))
    assert counters[0] == threads * rounds
    assert not early.any()


def test_crew_runs_every_thread_once_a_run() -> None:
    crew = Crew(3)
    for _ in range(50):
        seen: list[int] = []
        all_here = threading.Barrier(3, timeout=60)  # a run is over when thread 0 is: it waits for the others here

        def job(thread: int, seen: list[int] = seen, all_here: threading.Barrier = all_here) -> None:
            seen.append(thread)
            all_here.wait()

        crew.run(job)
        assert sorted(seen) == [0, 1, 2]
