"""What work costs on this machine, in seconds: measured once for a processor, with the kernels that plans run.

Measured at the first compile (half a second, on a busy machine up to two), kept where compiled kernels are and read from there
ever after, so that all processes of a machine make the same plans; for the same reason they are those of DEFAULTS where nothing
can be kept, and with EPCORE_PRICES=default. A price is the least of many runs, until more of them change nothing, rounded to
the 16th of an octave. Bits never depend on one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from epcore.base.limits import memory_limit
from epcore.inference.choice import Choice
from epcore.inference.executor import executor
from epcore.inference.layout import Buffer, Place
from epcore.inference.step import Activation, Step
from epcore.inference.steps import definition
from epcore.inference.steps.band import Band
from epcore.inference.steps.depthwise import STRIP, STRIP_STRIDE2, STRIPS, Depthwise
from epcore.inference.steps.pointwise import Pointwise
from epcore.kernels.cpu import cache as kernel_cache
from epcore.kernels.cpu.cache_folders import folders, kept_in
from epcore.kernels.cpu.caches import Caches
from epcore.kernels.cpu.crew import LINE, Crew
from epcore.kernels.cpu.processor import LANES, PROCESSOR
from epcore.shapes import Shape
from epcore.threads import default_threads

VARIABLE = "EPCORE_PRICES"
_HERE, _PREFIX = Path(__file__).parent, "prices."
_OCTAVE = 16  # steps of rounding
_LEAST = 1e-15  # seconds: what is measured as nothing, or less
_ROWS, _WIDTH = 8, 80  # of measured depthwise layers
_TURNS, _MOST_TURNS, _SECONDS = 12, 60, 0.002  # for each price
_MOST_BYTES = 32 << 20  # of a map from memory; larger caches are as fast as memory, as far as plans can tell


@dataclass(frozen=True)
class Prices:
    """Seconds on one thread. multiply: of a multiply-add of a pointwise tile, pixels and weights in the second level of caches;
    activation: of a swish in it.

    depthwise: of a multiply-add in a depthwise strip, by "SIZE/STRIDE/STRIP". second, third, memory: of a byte from there, on
    top of the work it is for; fetched ahead, by the processor, in rows that are read from end to end, or because a product asks
    for it. task: to take one and begin it. meeting: of two threads at the end of a step.
    """

    multiply: float
    activation: float
    depthwise: dict[str, float]
    second: float
    third: float
    memory: float
    task: float
    meeting: float


def strip_name(size: int, stride: int, strip: int) -> str:
    """Of a depthwise strip, as prices have it."""
    return f"{size}/{stride}/{strip}"


# size, stride, strip of all that kernels are compiled for.
STRIP_KINDS = tuple(
    dict.fromkeys(
        [(3, 1, STRIP), *((5, 1, strip) for strip in STRIPS), (3, 2, STRIP_STRIDE2), (5, 2, STRIP_STRIDE2)],
    )
)


def _default(multiply: float, activation: float, depthwise: tuple[float, ...], far: tuple[float, float, float]) -> Prices:
    """depthwise: of 3x3 and 5x5 with stride 1, then with stride 2; far: of a byte from each level."""
    by_kind = dict(zip(((3, 1), (5, 1), (3, 2), (5, 2)), depthwise, strict=True))
    strips = {strip_name(*kind): by_kind[kind[:2]] for kind in STRIP_KINDS}
    return Prices(multiply, activation, strips, *far, task=8e-8, meeting=3e-7)


# By LANES, as measured on an Intel Xeon of 2023 (AVX-512, and as if it had but AVX2).
DEFAULTS = {
    16: _default(1e-11, 1.9e-10, (2.2e-11, 1.45e-11, 3e-11, 2e-11), (5e-12, 4e-11, 1e-10)),
    8: _default(1.7e-11, 2.5e-10, (4e-11, 2.7e-11, 5.7e-11, 3.8e-11), (4e-12, 4e-11, 1e-10)),
}


def prices(caches: Caches) -> Prices:
    """Of this processor with these caches. Raises ValueError for an EPCORE_PRICES other than "default"."""
    wanted = os.environ.get(VARIABLE)
    if wanted not in (None, "default"):
        raise ValueError(f'{VARIABLE} is {wanted!r}, expected "default" or nothing')
    return DEFAULTS[LANES] if wanted == "default" else _of_this_machine(caches)


@cache
def _of_this_machine(caches: Caches) -> Prices:
    kept, (stamp, name) = folders(_HERE), file_name(caches)
    known = _read(kept.read(name))
    if known is not None or kept_in(_HERE) is None:
        return known or DEFAULTS[LANES]
    measured = measure(caches)
    known = _read(kept.read(name))
    if known is None:  # else another process was faster: all take what it found
        kept.write(name, json.dumps(asdict(measured)).encode(), _PREFIX, stamp)
    return known or measured


def file_name(caches: Caches) -> tuple[str, str]:
    """Of the file with the prices of these caches and this processor: what it begins with for the kernels as they are now, and
    the whole."""
    sources = sha256()
    for path in sorted([Path(__file__), *_HERE.glob("steps/*.py"), *kernel_cache.SHARED]):
        sources.update(path.read_bytes())
    stamp = f"{_PREFIX}{sources.hexdigest()[:8]}."
    machine = PROCESSOR.triple, PROCESSOR.cpu, sorted(PROCESSOR.features), str(caches)
    return stamp, f"{stamp}{sha256(repr(machine).encode()).hexdigest()[:40]}.json"


def _read(files: Iterable[bytes]) -> Prices | None:
    """The first of the files that is whole."""
    for data in files:
        try:
            found = Prices(**json.loads(data))
            numbers = [*(value for name, value in asdict(found).items() if name != "depthwise"), *found.depthwise.values()]
            if found.depthwise.keys() == {strip_name(*kind) for kind in STRIP_KINDS} and all(0 < n < 1 for n in numbers):
                return found
        except (ValueError, TypeError, AttributeError):
            continue
    return None


# ---- measuring


def rounded(seconds: float) -> float:
    """To the 16th of an octave, and never nothing."""
    return float(2.0 ** (round(math.log2(max(seconds, _LEAST)) * _OCTAVE) / _OCTAVE))


def _settled(now: float, earlier: float) -> bool:
    """Whether a price is what it was, but for a step of rounding."""
    return now * 2 ** (1 / _OCTAVE) > earlier


def measure(caches: Caches) -> Prices:
    """The prices of this machine, as they are now."""
    bench = _Bench()
    depth, columns = 12 * LANES, 6 * LANES  # pixels and a panel's weights from the second level, as in most layers
    product, activated = (bench.product((1, 16, 16, depth), columns, activation) for activation in ("", "swish"))
    strips = [bench.strip(*kind) for kind in STRIP_KINDS]
    # A depthwise layer from and to a cache: its map is half of what is there, what it writes the other half.
    row = 4 * _WIDTH * LANES
    wide = bench.strip(3, 1, STRIP, max(2, caches.second // (4 * _ROWS * row)) * LANES)
    most = min(_MOST_BYTES, (memory_limit() or 1 << 40) // 16)
    sizes = max(2 * caches.second, min(caches.third // 2, 8 * caches.second)), max(4 * caches.second, 2 * caches.third)
    third, memory = (bench.strip(3, 1, STRIP, 8 * LANES, max(_ROWS, min(size, most) // (16 * row))) for size in sizes)
    tasks = bench.tasks()
    seconds = bench.run()

    def each(row: _Row) -> float:
        return seconds[row.number] / row.amount

    numbers = product.amount // depth
    # Nine multiply-adds for three numbers read again. No cache gives more than a line a cycle, in which 2 x LANES multiply-adds
    # are done; what comes from farther away for less is noise.
    second_byte = max(each(product) * 2 * LANES / 64, (each(wide) - each(strips[0])) * 9 / (4 * 3))
    memory_byte = max(second_byte, (each(memory) - each(wide)) * 9 / (4 * 2))
    third_byte = max(second_byte, min(memory_byte, (each(third) - each(wide)) * 9 / (4 * 2)))
    return Prices(
        multiply=rounded(each(product)),
        activation=rounded((seconds[activated.number] - seconds[product.number]) / numbers),
        depthwise={strip_name(*kind): rounded(each(row)) for kind, row in zip(STRIP_KINDS, strips, strict=True)},
        second=rounded(second_byte),
        third=rounded(third_byte),
        memory=rounded(memory_byte),
        task=rounded(each(tasks)),
        meeting=rounded(bench.meeting(tasks)) if default_threads() > 1 else DEFAULTS[LANES].meeting,
    )


@dataclass(frozen=True)
class _Row:
    """number: in the program; amount: how much of what is priced it does."""

    number: int
    amount: int


class _Bench:
    """A program of rows that have nothing to do with each other, each timed by itself. It is `Costs` for what it encodes, so
    that nothing is chosen by prices that are yet to be found."""

    threads = 1

    def __init__(self) -> None:
        from epcore.inference.encode import Encoder  # which imports what reads prices

        self._shapes: dict[str, Shape] = {}
        self._places: dict[str, Place] = {}
        self._encoder = Encoder(self._shapes, self._places, self)
        self._choice = Choice()

    def pointwise(self, step: Pointwise, shapes: Any) -> tuple[Choice, float]:
        return self._choice, 0.0

    def depthwise(self, step: Depthwise, shapes: Any) -> tuple[Choice, float]:
        return self._choice, 0.0

    def band(self, step: Band, shapes: Any) -> tuple[Choice, float]:
        raise AssertionError("no band is measured: its parts are")

    def other(self, step: Step, shapes: Any, tasks: int) -> float:
        return 0.0

    def product(self, x: Shape, columns: int, activation: str = "") -> _Row:
        weights, bias = np.zeros((x[3], columns)), np.zeros(columns)
        self._choice = Choice(chunk=256)
        return self._row(
            Pointwise, x, (*x[:3], columns), x[3], weights=weights, bias=bias, activation=Activation(activation)
        )  # fmt: skip

    def strip(self, size: int, stride: int, strip: int, channels: int = LANES, rows: int = 0) -> _Row:
        """Whole strips; with a vector of channels the rows of a window stay in the first cache."""
        width, rows = _WIDTH // strip * strip, rows or _ROWS
        self._choice = Choice(strip=strip)
        x, y = (1, rows * stride, width * stride, channels), (1, rows, width, channels)
        weights, bias = np.zeros((size, size, channels)), np.zeros(channels)
        return self._row(Depthwise, x, y, size * size, weights=weights, bias=bias, stride=stride)

    def tasks(self) -> _Row:
        """Tasks of a pixel each, of as few channels as there can be."""
        images = 2048
        return _Row(self.product((images, 1, 1, LANES), LANES).number, images)

    def _row(self, kind: type[Step], x: Shape, y: Shape, each: int, **fields: Any) -> _Row:
        number = len(self._encoder.rows)
        for name, shape in ((f"x{number}", x), (f"y{number}", y)):
            self._shapes[name], self._places[name] = shape, Place(Buffer(math.prod(shape)), shape, shape[3])
        definition(kind).encode(kind(inputs=(f"x{number}",), output=f"y{number}", **fields), self._encoder)
        return _Row(number, math.prod(y) * each)

    def run(self) -> list[float]:
        """Seconds of every row: the least of many runs, of each again after the others, until no more turns change it."""
        program = self._encoder.finish({})
        self._arena, self._rows = program.arena, program.rows
        least = [math.inf] * len(self._rows)
        empty = math.inf
        earlier: list[list[float]] = []
        for turn in range(_MOST_TURNS):
            if turn >= _TURNS and all(map(_settled, least, earlier[-_TURNS // 2])):
                break
            earlier.append(least.copy())
            empty = min(empty, self._time(self._rows[:0]))
            for number in range(len(self._rows)):
                end = perf_counter() + _SECONDS
                while True:
                    least[number] = min(least[number], self._time(self._rows[number : number + 1]))
                    if perf_counter() > end:
                        break
        return [seconds - empty for seconds in least]

    def meeting(self, tasks: _Row) -> float:
        """Seconds that two threads need to begin and end a step of two tasks, beyond the tasks."""
        rows = np.repeat(self._rows[tasks.number : tasks.number + 1], 600, axis=0)
        rows[:, 1] = 2  # tasks: the second word of every record
        pair = Crew(2)  # its own: plans may be at work
        few, many, end = math.inf, math.inf, perf_counter() + 0.05  # a busy machine may take milliseconds for each
        while True:
            few = min(few, pair.call(partial(self._time, rows[:100], pair)))
            many = min(many, pair.call(partial(self._time, rows, pair)))
            if perf_counter() > end:
                return (many - few) / 500

    def _time(self, rows: np.ndarray, pair: Crew | None = None) -> float:
        execute, arena, threads = executor(), self._arena, 1 if pair is None else 2
        counters, done = np.zeros((max(1, len(rows)) * threads * LINE), np.int64), np.zeros(max(1, len(rows)) * LINE, np.int64)

        def work(thread: int) -> None:
            execute(arena, arena, rows, counters, done, thread, threads)

        started = perf_counter()
        if pair is None:
            work(0)
        else:
            pair.run(work)
        return perf_counter() - started
