"""Which expansions are computed inside the depthwise layer that reads them, a band of rows and a group of channels at a time.

Worth it where the expanded map is too large for a core's cache. Both cuts have a price: neighbouring bands both expand the rows
between them, and every group reads the whole input again. The cut with the least work for the busiest thread is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapreplace

from epcore.inference.fold import Layer
from epcore.kernels.cpu.processor import CACHE_BYTES, LANES, RING_BYTES
from epcore.shapes import Shape

EXTRA = 0.2  # share of rows expanded twice, at most
BANDS = (1, 2, 4, 8)  # cuts of a batch tried, for every thread; one band a picture is tried as well
PANEL = 3 * LANES  # columns of a full panel, see kernels/cpu/fused/pointwise.py; groups are of whole ones
_EXPANSION = 0.6  # share of the expansion in the work of both layers
_REREAD = 0.01  # price of a further group, in shares of the work
_TASK = 0.001  # price of a task, likewise


@dataclass
class Band:
    """expand: the layer computed inside; rows: output rows of a band; ring: expanded rows kept, a power of two; group: channels
    of a group, a multiple of PANEL, or 0 where all are computed at once."""

    expand: Layer
    rows: int
    ring: int
    group: int = 0


def fuse_expansions(
    layers: Sequence[Layer], shapes: Mapping[str, Shape], outputs: Collection[str], threads: int
) -> list[Layer]:
    """The layers with some expansions moved into the depthwise layer after them (`Layer.band`)."""
    readers = Counter(name for layer in layers for name in (*layer.inputs, layer.residual))
    fused: list[Layer] = []
    for layer in layers:
        before = fused[-1] if fused else None
        if before is not None and before.output not in outputs and readers[before.output] == 1:
            band = _band(before, layer, shapes, threads)
            if band is not None:
                nodes = before.nodes + layer.nodes
                fused[-1] = replace(layer, inputs=before.inputs, nodes=nodes, band=band)
                continue
        fused.append(layer)
    return fused


def _band(expand: Layer, depthwise: Layer, shapes: Mapping[str, Shape], threads: int) -> Band | None:
    if depthwise.op != "depthwise_conv2d" or depthwise.inputs != [expand.output]:
        return None
    same_end = (expand.activation, expand.factor) == (depthwise.activation, depthwise.factor)
    if (
        not expand.pointwise
        or not same_end
        or expand.residual is not None
        or expand.gated is not None
        or depthwise.weights is None
    ):
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
                best, least = Band(expand, rows, ring, channels if len(cut) > 1 else 0), work
    return best


def _busiest(tasks: Sequence[float], threads: int) -> float:
    """Work of the busiest thread where each takes the next task when it is free, times the number of threads."""
    loads = [0.0] * threads
    for task in tasks:
        heapreplace(loads, loads[0] + task)
    return max(loads) * threads
