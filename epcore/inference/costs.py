"""What a step would take on a machine, and so how it is cut: predicted seconds of every way to cut it, the cheapest is taken.

Seconds are those of the busiest thread where each takes the next task when it is free. A task is

    multiply-adds x their price (pointwise tiles and depthwise strips have their own, border and overlap included)
    + activated numbers x their price
    + bytes x the price of where they come from, each time they are read or written
    + the price of a task,

and several threads meet at the end of a step, waiting for a share of the largest task (SLACK). What is read again and again
stays in a cache of which it takes a quarter or less, not at all in one that it would fill, and in part between; the first level
costs nothing beyond the work. A map is divided among the threads, as each finds its own share again.

    pointwise   the input, which travels while tiles compute: the longer of the two, and WAIT of the journey; where a chunk of
                it, or a panel's weights, do not stay in the second level (which tiles do not wait for) these again for every
                panel, or every tile; output and residual
    depthwise   every output row reads `size` input rows, in cache as a window of rows; the map's own rows once
    band        both, but instead of the map between them a ring of rows; the input again for every group of channels, whose
                rows are begun like tasks; rows that two bands share are expanded twice
    the rest    maps and weights once, multiply-adds of a dense convolution at the pointwise price

`ahead`: tiles ask for the next one's pixels where the input takes more than half of the second level, and pay an instruction a
line and panel. All of it is a model: it orders ways to cut a step, and says within some ten percent what most of them take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapreplace
from itertools import product
from math import prod

import numpy as np

from epcore.inference.choice import Choice
from epcore.inference.machine import Machine
from epcore.inference.prices import strip_name
from epcore.inference.step import Step
from epcore.inference.steps.band import PANEL, Band, Cut
from epcore.inference.steps.dense import Dense
from epcore.inference.steps.depthwise import Depthwise, strips_of
from epcore.inference.steps.pointwise import ROWS, Pointwise
from epcore.inference.steps.upscale import Upscale
from epcore.kernels.cpu.panels import cut as panels_of
from epcore.kernels.cpu.processor import LANES, RING_SPACE
from epcore.shapes import Shape
from epcore.threads import THREAD_BYTES

Shapes = Mapping[str, Shape]

CHUNKS = (16, 32, 64, 128, 256, 512)  # pixels of a product's task, tried
BANDS = (1, 2, 4, 8)  # bands of a batch tried, for every thread; one band a picture is tried as well
RINGS = int(0.9 * THREAD_BYTES)  # bytes of a thread's ring and the space behind it, at most: more is not worth its memory
WAIT = 0.1  # share of the input's journey that tiles wait for, though they have work
SLACK = 0.03  # of the largest task: threads are never quite as fast as each other
_LINE = 64  # bytes
_MANY = 64  # tasks beyond which it matters little which of them is the last


class Costs:
    """Of plans for this machine with so many threads."""

    def __init__(self, machine: Machine, threads: int) -> None:
        self.machine, self.threads = machine, threads

    # ---- what the planner asks

    def pointwise(self, step: Pointwise, shapes: Shapes) -> tuple[Choice, float]:
        """The chunk to cut it in, whether to ask ahead, and the seconds it takes."""
        x = shapes[step.inputs[0]]
        asked = self.asks(x)
        pixels = x[1] * x[2]
        chunks = sorted({min(chunk, -(-pixels // ROWS) * ROWS) for chunk in CHUNKS if chunk % ROWS == 0})
        seconds = {chunk: self._pointwise(step, shapes, chunk, asked) for chunk in chunks}
        best = min(chunks, key=seconds.__getitem__)
        return Choice(chunk=best, ahead=asked), seconds[best]

    def depthwise(self, step: Depthwise, shapes: Shapes) -> tuple[Choice, float]:
        """Its strip, and the seconds it takes."""
        x, y = shapes[step.inputs[0]], shapes[step.output]
        strip = self._strip(step, y[2])
        rows = self._rows(step, y, strip, x[3], x[2])
        share = 4 * prod(x) // self.threads
        own = max(0.0, self.byte(share) - self.byte(step.weights.shape[0] * 4 * x[2] * x[3]))
        row = rows + 4 * x[2] * x[3] * x[1] / y[1] * own + 4 * y[2] * y[3] * self._map(y)
        return Choice(strip=strip), self._several([row + self.machine.prices.task] * (y[0] * y[1]))

    def cut(self, expand: Pointwise, depthwise: Depthwise, shapes: Shapes) -> tuple[Cut, float] | None:
        """The best cut of both together, and the seconds it takes; None where their rings would take too much memory."""
        seconds = {cut: self._band(expand, depthwise, shapes, cut) for cut in self._cuts(depthwise, shapes)}
        return min(seconds.items(), key=lambda each: each[1], default=None)

    def band(self, step: Band, shapes: Shapes) -> tuple[Choice, float]:
        """What is chosen of such a step, and the seconds it takes."""
        y = shapes[step.output]
        choice = Choice(
            rows=step.cut.rows, group=step.cut.group or y[3], strip=self._strip(step.depthwise, y[2]),
            ahead=self.asks(shapes[step.inputs[0]]),
        )  # fmt: skip
        return choice, self._band(step.expand, step.depthwise, shapes, step.cut)

    def other(self, step: Step, shapes: Shapes, tasks: int) -> float:
        """Seconds of a step of another kind: nothing about it is chosen."""
        prices = self.machine.prices
        maps = [shapes[name] for name in step.maps if name in shapes]
        seconds = sum(4 * prod(shape) * self._map(shape) for shape in maps)
        seconds += 4 * step.weight_count * self.byte(4 * step.weight_count)
        if isinstance(step, Dense):
            seconds += step.weight_count * prod(shapes[step.output][:3]) * prices.multiply
        elif isinstance(step, Upscale):  # a quarter of the taps meet an output pixel
            seconds += np.count_nonzero(step.weights) * prod(shapes[step.output][:3]) / 4 * max(prices.depthwise.values())
        return self._several([seconds / tasks + prices.task] * tasks)

    def asks(self, x: Shape) -> bool:
        """Whether a product should ask ahead for pixels of this map."""
        return 2 * 4 * prod(x) // self.threads > self.machine.caches.second

    # ---- bytes

    def byte(self, size: int) -> float:
        """Seconds of a byte of `size` that one thread goes through again and again."""
        caches, prices = self.machine.caches, self.machine.prices
        price = 0.0
        for room, beyond in ((caches.first, prices.second), (caches.second, prices.third), (caches.third, prices.memory)):
            outside = min(1.0, (4 * size / room - 1) / 3) if room else 1.0  # the share of it that does not stay
            if outside > 0:
                price += outside * (beyond - price)
        return price

    def _far(self, size: int) -> float:
        """The same, where what comes from the second level is as good as there."""
        return max(0.0, self.byte(size) - self.machine.prices.second)

    def _map(self, shape: Shape) -> float:
        return self.byte(4 * prod(shape) // self.threads)

    # ---- the parts of steps

    def _product(self, step: Pointwise, pixels: int, columns: int, asked: bool) -> float:
        """Seconds of so many pixels through so many columns, all but the maps' own bytes."""
        prices = self.machine.prices
        depth, cut = step.weights.shape[0], panels_of(columns)
        panels = cut.full + cut.rest
        vectors = cut.full * cut.full_vectors + cut.rest * cut.rest_vectors
        tiles = -(-pixels // ROWS)
        seconds = tiles * ROWS * depth * vectors * LANES * prices.multiply
        if step.activation.kind:
            seconds += tiles * ROWS * vectors * LANES * prices.activation
        seconds += (panels - 1) * 4 * pixels * depth * self._far(4 * pixels * depth)
        seconds += 4 * depth * vectors * LANES * self._weights(depth, vectors, panels, tiles)
        if asked:
            seconds += (panels - 1) * pixels * -(-4 * depth // _LINE) * LANES * prices.multiply
        return float(seconds)

    def _weights(self, depth: int, vectors: int, panels: int, tiles: int) -> float:
        """Seconds of a byte of packed weights: those of a panel for every tile, all of them for every chunk."""
        panel, whole = self._far(4 * depth * LANES * -(-vectors // panels)), self._far(4 * depth * LANES * vectors)
        return panel * (tiles - 1) + max(panel, whole)

    def _pointwise(self, step: Pointwise, shapes: Shapes, chunk: int, asked: bool) -> float:
        x, y = shapes[step.inputs[0]], shapes[step.output]
        pixels = x[1] * x[2]
        input_of_pixel, output_of_pixel = 4 * x[3] * self._map(x), 4 * y[3] * self._map(y) * (2 if step.residual else 1)

        def task(count: int) -> float:
            work = _together(self._product(step, count, y[3], asked), count * input_of_pixel)
            return work + count * output_of_pixel + self.machine.prices.task

        tasks = [task(chunk)] * (pixels // chunk) + ([task(pixels % chunk)] if pixels % chunk else [])
        return self._several(tasks * x[0])

    def _strip(self, step: Depthwise, width: int) -> int:
        """Of those that kernels are compiled for, the one that is through with a row first; the widest of equals."""
        kind = step.weights.shape[0], step.stride
        prices = self.machine.prices.depthwise
        return min(strips_of(*kind), key=lambda strip: -(-width // strip) * strip * prices[strip_name(*kind, strip)])

    def _rows(self, step: Depthwise, y: Shape, strip: int, channels: int, width: int) -> float:
        """Seconds of a row of output pixels of so many channels, read from rows `width` wide that are in some cache."""
        prices, size = self.machine.prices, step.weights.shape[0]
        vectors = -(-channels // LANES) * LANES
        seconds = -(-y[2] // strip) * strip * size**2 * vectors * prices.depthwise[strip_name(size, step.stride, strip)]
        if step.activation.kind:
            seconds += -(-y[2] // strip) * strip * vectors * prices.activation
        row = 4 * width * channels
        return float(seconds + size * row * self.byte(size * row))

    def _cuts(self, depthwise: Depthwise, shapes: Shapes) -> list[Cut]:
        N, rows_out, _, C = shapes[depthwise.output]
        size = depthwise.weights.shape[0]
        ring = 1 << (size - 1).bit_length()
        panels = C // PANEL if C % PANEL == 0 else 1
        bands = dict.fromkeys(min(rows_out, each) for each in (1, *(-(-share * self.threads // N) for share in BANDS)))
        groups = dict.fromkeys(-(-panels // count) for count in range(1, panels + 1))
        space = 4 * (ring + RING_SPACE) * shapes[depthwise.inputs[0]][2]
        return [
            Cut(-(-rows_out // count), ring, group * PANEL if group < panels else 0)
            for count, group in product(bands, groups)
            if space * (group * PANEL if group < panels else C) <= RINGS
        ]

    def _band(self, expand: Pointwise, depthwise: Depthwise, shapes: Shapes, cut: Cut) -> float:
        x, middle, y = (shapes[name] for name in (expand.inputs[0], expand.output, depthwise.output))
        prices, asked = self.machine.prices, self.asks(x)
        _, H, W, C = middle
        size, stride = depthwise.weights.shape[0], depthwise.stride
        bands = -(-y[1] // cut.rows)
        expanded = min(H, (cut.rows - 1) * stride + size) if bands > 1 else H
        strip = self._strip(depthwise, y[2])
        weights = 4 * expand.weights.shape[0]

        def task(channels: int) -> float:
            seconds = expanded * _together(self._product(expand, W, channels, asked), 4 * W * x[3] * self._map(x))
            seconds += expanded * W * 4 * channels * self.byte(4 * cut.ring * W * channels)
            seconds += expanded * weights * channels * (self._far(weights * channels) - self._far(weights * PANEL))
            seconds += cut.rows * (self._rows(depthwise, y, strip, channels, W) + 4 * y[2] * channels * self._map(y))
            return float(seconds + (expanded + cut.rows) * prices.task)

        if not cut.group:
            return self._several([task(C)] * (y[0] * bands))
        whole, rest = divmod(C, cut.group)
        groups = [task(cut.group)] * whole + ([task(rest)] if rest else [])
        return self._several(groups * (y[0] * bands))

    def _several(self, tasks: Sequence[float]) -> float:
        """Seconds of the busiest thread, and of the threads' meeting."""
        if self.threads == 1:
            return sum(tasks)
        meeting = self.machine.prices.meeting + SLACK * max(tasks)
        if len(tasks) > _MANY * self.threads:
            return (sum(tasks) + max(tasks)) / self.threads + meeting
        loads = [0.0] * self.threads
        for seconds in tasks:
            heapreplace(loads, loads[0] + seconds)
        return max(loads) + meeting


def _together(work: float, journey: float) -> float:
    return max(work, journey) + WAIT * journey
