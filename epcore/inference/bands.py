"""Which expansions are computed inside the depthwise layer that reads them, a band of rows and a group of channels at a time.

Worth it where the expanded map is too large for a core's cache. Both cuts have a price: neighbouring bands both expand the rows
between them, and every group reads the whole input again. The cut with the least work for the busiest thread is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from heapq import heapreplace

from epcore.inference.step import Step
from epcore.inference.steps.band import PANEL, Band, Cut
from epcore.inference.steps.depthwise import Depthwise
from epcore.inference.steps.pointwise import Pointwise
from epcore.kernels.cpu.processor import CACHE_BYTES, RING_BYTES
from epcore.shapes import Shape

EXTRA = 0.2  # share of rows expanded twice, at most
BANDS = (1, 2, 4, 8)  # cuts of a batch tried, for every thread; one band a picture is tried as well
_EXPANSION = 0.6  # share of the expansion in the work of both layers
_REREAD = 0.01  # price of a further group, in shares of the work
_TASK = 0.001  # price of a task, likewise


def choose_bands(steps: Sequence[Step], shapes: Mapping[str, Shape], outputs: Collection[str], threads: int) -> list[Step]:
    """The steps with some expansions moved into the depthwise layer after them."""
    readers = Counter(name for step in steps for name in step.reads)
    chosen: list[Step] = []
    for step in steps:
        before = chosen[-1] if chosen else None
        if (
            isinstance(before, Pointwise)
            and isinstance(step, Depthwise)
            and step.inputs == (before.output,)
            and before.output not in outputs
            and readers[before.output] == 1
            and (cut := _cut(before, step, shapes, threads)) is not None
        ):
            nodes = before.nodes + step.nodes
            chosen[-1] = Band(inputs=before.inputs, output=step.output, nodes=nodes, expand=before, depthwise=step, cut=cut)
        else:
            chosen.append(step)
    return chosen


def _cut(expand: Pointwise, depthwise: Depthwise, shapes: Mapping[str, Shape], threads: int) -> Cut | None:
    """The best cut of the two; None where they are better left alone."""
    if not expand.activation.same_as(depthwise.activation) or expand.residual is not None or expand.gate is not None:
        return None
    N, H, W, C = shapes[expand.output]
    if 4 * N * H * W * C <= CACHE_BYTES:
        return None
    size, stride, rows_out = depthwise.weights.shape[0], depthwise.stride, shapes[depthwise.output][1]
    ring = 1 << (size - 1).bit_length()
    panels = C // PANEL if C % PANEL == 0 else 1
    best, least = None, float("inf")
    for bands in (1, *(-(-share * threads // N) for share in BANDS)):
        rows = -(-rows_out // bands)
        extra = max(size - stride, 0) / (rows * stride) if rows < rows_out else 0.0
        for count in range(1, panels + 1):
            group = -(-panels // count)
            channels = group * PANEL if panels > 1 else C
            if extra > EXTRA or 4 * ring * W * channels > RING_BYTES:
                continue
            cut = [min(group, panels - start) / panels for start in range(0, panels, group)]
            tasks = N * -(-rows_out // rows)
            work = _busiest([share * (1 + _EXPANSION * extra) / tasks for share in cut] * tasks, threads)
            work += _REREAD * (len(cut) - 1) + _TASK * tasks * len(cut)
            if work < least:
                best, least = Cut(rows, ring, channels if len(cut) > 1 else 0), work
    return best


def _busiest(tasks: Sequence[float], threads: int) -> float:
    """Work of the busiest thread where each takes the next task when it is free, times the number of threads."""
    loads = [0.0] * threads
    for task in tasks:
        heapreplace(loads, loads[0] + task)
    return max(loads) * threads
