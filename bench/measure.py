"""Timing side by side: contenders take turns, so that whatever else the machine does hits all of them alike.

Absolute figures move with the machine; the ratio of two medians from one run is what can be trusted.

Some runtimes let their threads spin after a call, for tens of milliseconds, to be ready for the next one. Whoever ran after
them would be timed with fewer cores. So a turn is a pause, in which they go to sleep, calls that are not timed until caches,
clocks and the contender's own threads are warm, and a few timed calls.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np

CACHE_BYTES = 64 << 20  # inputs rotate through this much memory: more than the last-level cache of common machines


PAUSE = 0.06  # seconds, longer than any contender's threads were seen to spin (ONNX Runtime's: 0.05)
SETTLE = 0.02


class Clock:
    """Wall time; or processor time of all threads together, which does not grow when other programs take the cores. The second
    is for one thread on a busy machine: threads that wait for each other count twice in it."""

    now: Callable[[], float] = staticmethod(perf_counter)

    @classmethod
    def use_processor_time(cls) -> None:
        cls.now = staticmethod(process_time)


@dataclass(frozen=True)
class Sample:
    """Seconds of one contender, one number a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return (high - low) / self.median


def rotation(make: Callable[[int], np.ndarray], limit: int = 16) -> list[np.ndarray]:
    """Inputs make(0), make(1), ... until together they exceed the cache (at least 2, at most `limit`)."""
    first = make(0)
    count = min(limit, max(2, CACHE_BYTES // max(1, first.nbytes) + 1))
    return [first, *(make(i) for i in range(1, count))]


def side_by_side(
    contenders: Mapping[str, Callable[[Any], Any]],
    inputs: Sequence[Any],
    *,
    rounds: int = 30,
    warm_up: int = 3,
    block: int = 5,
    pause: float = PAUSE,
    settle: float = SETTLE,
) -> dict[str, Sample]:
    """Time every contender on the same inputs, `rounds` times each, in turns of `block`, after `warm_up` calls of each.

    pause, settle: seconds of sleep and of untimed calls at the start of a turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up):
        for run in contenders.values():
            run(inputs[turn % len(inputs)])
    for first in range(0, rounds, block):
        for name, run in contenders.items():
            if len(contenders) > 1:
                sleep(pause)
            settled = perf_counter() + settle
            run(inputs[first % len(inputs)])
            while perf_counter() < settled:
                run(inputs[first % len(inputs)])
            for turn in range(first, min(first + block, rounds)):
                x = inputs[(turn + 1) % len(inputs)]
                started = Clock.now()
                run(x)
                seconds[name].append(Clock.now() - started)
    return {name: Sample(tuple(values)) for name, values in seconds.items()}


def copy_bandwidth() -> float:
    """Bytes/s read plus written by a large copy with all threads of Numba."""
    from numba import njit, prange

    @njit(parallel=True)
    def copy(a: np.ndarray, b: np.ndarray) -> None:
        for i in prange(a.size):
            b[i] = a[i]

    a = np.ones(CACHE_BYTES // 2, np.float32)
    b = np.empty_like(a)
    sample = side_by_side({"copy": lambda _: copy(a, b)}, [None], rounds=9)["copy"]
    return 2 * a.nbytes / min(sample.seconds)


def product_peak() -> float:
    """FLOP/s of the best large float32 matrix product at hand: NumPy's BLAS, or PyTorch's where installed."""
    size = 1536
    a = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    out = np.empty_like(a)
    contenders: dict[str, Callable[[Any], Any]] = {"numpy": lambda x: np.matmul(x, x, out=out)}
    try:
        import torch
    except ImportError:
        pass
    else:
        tensor = torch.from_numpy(a)
        contenders["torch"] = lambda _: tensor @ tensor
    samples = side_by_side(contenders, [a], rounds=12)
    return 2 * size**3 / min(min(sample.seconds) for sample in samples.values())
