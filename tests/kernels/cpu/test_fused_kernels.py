"""The fused kernels' own building blocks: activations, tiles, ranges of sums, atomic counters, the crew."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numba import njit

from epcore.inference.steps import activation as ends
from epcore.inference.steps.activation import finish
from epcore.kernels.cpu.crew import LINE, Crew, fetch_add, load_shared, wait
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load, load_block, load_tile, splat, store, store_block, sum_range


@njit(error_model="numpy")
def _finish(x, y, activation, beta):  # type: ignore[no-untyped-def]
    store(y, 0, finish(load(x, 0), activation, beta))


@njit(error_model="numpy")
def _blocks(x, out, first, last):  # type: ignore[no-untyped-def]
    store_block(out, 0, LANES, load_tile(x, 3, 50, 7, 2, 3))
    store(out, 6 * LANES, sum_range(splat(1.0, 1), load_block(x, 0, LANES, 5), first, last))


@pytest.mark.parametrize("activation", [ends.LINEAR, ends.SWISH, ends.RELU])
def test_no_activation_hides_nan(activation: int) -> None:
    x = np.linspace(-8, 8, LANES, dtype=np.float32)
    x[1] = np.nan
    y = np.empty_like(x)
    _finish(x, y, activation, np.float32(6))
    assert np.isnan(y[1])
    assert np.isfinite(np.delete(y, 1)).all()
    if activation == ends.RELU:
        np.testing.assert_array_equal(np.delete(y, 1), np.delete(np.clip(x, 0, 6), 1))


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


def test_a_crew_shares_work_where_it_is_free() -> None:
    team = Crew(2)
    came = threading.Barrier(2)
    team.share(lambda _: came.wait(60) and None)  # both meet there: the caller alone would not get past it
    alone: list[int] = []
    team.call(lambda: team.share(alone.append))
    assert alone == [0]
    other = threading.Thread(target=lambda: team.share(alone.append))
    team.call(lambda: (other.start(), other.join(60)))
    assert alone == [0, 0], "from another thread, while a call is in progress"

    def fail(_: int) -> None:
        raise LookupError("planted")

    with pytest.raises(LookupError, match="planted"):
        Crew(1).share(fail)
    team.share(lambda _: came.wait(60) and None)
