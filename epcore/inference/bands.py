"""Which expansions are computed inside the depthwise layer that reads them, a band of rows at a time.

Worth it where the expanded map is too large for a core's cache. The price is that neighbouring bands both expand the rows
between them, so it is left where those would be many (5x5 kernels at stride 1, unless a band is a whole picture of a batch).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from epcore.inference.fold import Layer
from epcore.shapes import Shape

CACHE_BYTES = 1 << 20  # expanded maps larger than this do not stay in the second-level cache
RING_BYTES = 1 << 20  # rings larger than this do not either
EXTRA = 0.2  # share of rows expanded twice, at most
BANDS_A_THREAD = 4  # so that threads finish together


@dataclass
class Band:
    """expand: the layer computed inside; rows: output rows of a band; ring: expanded rows kept, a power of two."""

    expand: Layer
    rows: int
    ring: int


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
    if expand.op != "conv2d" or expand.weights is None or expand.weights.shape[0] != 1 or expand.stride != 1:
        return None
    same_end = (expand.activation, expand.factor) == (depthwise.activation, depthwise.factor)
    if not same_end or expand.residual is not None or expand.gated is not None or depthwise.weights is None:
        return None
    N, H, W, C = shapes[expand.output]
    size, stride, rows_out = depthwise.weights.shape[0], depthwise.stride, shapes[depthwise.output][1]
    ring = 1 << (size - 1).bit_length()
    rows = -(-rows_out // -(-BANDS_A_THREAD * threads // N))
    extra = max(size - stride, 0) / (rows * stride) if rows < rows_out else 0
    if 4 * N * H * W * C <= CACHE_BYTES or 4 * ring * W * C > RING_BYTES or extra > EXTRA:
        return None
    return Band(expand, rows, ring)
