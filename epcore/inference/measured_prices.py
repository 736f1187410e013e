"""How prices are measured: a program of rows that have nothing to do with each other, each timed by itself.

A price is the least of many runs, until more of them change nothing, rounded to the 16th of an octave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from epcore.base.limits import memory_limit
from epcore.inference.choice import Choice
from epcore.inference.executor import addresses, execute
from epcore.inference.layout import Buffer, Place
from epcore.inference.prices import DEFAULTS, STRIP_KINDS, Prices, strip_name
from epcore.inference.step import Activation, Step
from epcore.inference.steps import definition
from epcore.inference.steps.band import Band
from epcore.inference.steps.depthwise import STRIP, Depthwise
from epcore.inference.steps.pointwise import Pointwise
from epcore.kernels.cpu.caches import Caches
from epcore.kernels.cpu.crew import LINE, Crew
from epcore.kernels.cpu.processor import LANES
from epcore.shapes import Shape
from epcore.threads import default_threads

_OCTAVE = 16  # steps of rounding
_LEAST = 1e-15  # seconds: what is measured as nothing, or less
_ROWS, _WIDTH = 8, 80  # of measured depthwise layers
_TURNS, _MOST_TURNS, _SECONDS = 12, 60, 0.002  # for each price
_MOST_BYTES = 32 << 20  # of a map from memory; larger caches are as fast as memory, as far as plans can tell


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
        self._functions = addresses(row.kind for row in program.steps)
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
        arena, functions, threads = self._arena, self._functions, 1 if pair is None else 2
        counters, done = np.zeros((max(1, len(rows)) * threads * LINE), np.int64), np.zeros(max(1, len(rows)) * LINE, np.int64)

        def work(thread: int) -> None:
            execute(arena, arena, rows, functions, counters, done, thread, threads)

        started = perf_counter()
        if pair is None:
            work(0)
        else:
            pair.run(work)
        return perf_counter() - started
