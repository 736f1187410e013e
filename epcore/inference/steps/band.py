"""Expansion and depthwise convolution together, a band of output rows and a group of channels at a time, so that the wide map
between them never exists.

The map that an expansion writes is the largest of its block (six times the block's input), too large for the cache of a core
at the first, high-resolution blocks and in the passes of the large variants. Here a task expands a row of pixels into a ring of
rows, which stays in the cache, just before the depthwise convolution first needs it. Rows that two bands share are expanded by
both; groups of channels share nothing but the input they read. `epcore.inference.bands` decides where, `epcore.inference.costs`
how it is cut.

Rings of different threads lie RING_SPACE rows apart. Processors notice that a ring is read row after row and fetch rows ahead,
beyond its end; if the ring of another thread lies there, two cores take every line from each other. (8 rows were too few for
all of the effect, more than 16 changed nothing.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from epcore.inference.step import Step
from epcore.inference.steps.depthwise import DEPTHWISE, Depthwise, Source, depthwise_row, encode_depthwise, target_of
from epcore.inference.steps.pointwise import PRODUCT, Maps, Pointwise, Rows, encode_product, multiply
from epcore.inference.steps.record import TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.processor import LANES, RING_SPACE

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

PANEL = 3 * LANES  # columns of a full panel; groups are of whole ones

# x: what the expansion reads. rings: one a thread, `pixel` channels wide. rows: of a band; ring: rows kept, a power of two;
# group: panels of a group, 0 where all channels are computed at once.
RECORD = record(*fields(integers="rings pixel rows ring group expand", x=TENSOR, product=PRODUCT, depthwise=DEPTHWISE))
_view = viewer(RECORD)


@dataclass(frozen=True)
class Cut:
    """rows: output rows of a band; ring: expanded rows kept, a power of two; group: channels of a group, a multiple of PANEL,
    or 0 where all are computed at once."""

    rows: int
    ring: int
    group: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Band(Step):
    """An expansion computed inside the depthwise layer that reads it; inputs are the expansion's."""

    operator: ClassVar[str] = "depthwise_conv2d"

    expand: Pointwise
    depthwise: Depthwise
    cut: Cut

    @property
    def weight_count(self) -> int:
        return self.expand.weight_count + self.depthwise.weight_count


@step_kernel
def _run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """Task: `rows` rows of output pixels of one image, the columns of `group` panels."""
    step = _view(row)
    layer, product = step.depthwise, step.product
    count = product.panels.full + product.panels.rest
    panels = step.group if step.group else count
    groups = (count + panels - 1) // panels
    bands = (layer.out_height + step.rows - 1) // step.rows
    n, first = task // groups // bands, task // groups % bands * step.rows
    panel = task % groups * panels
    last_panel = min(panel + panels, count)
    channel, end, pixel = 0, layer.channels, step.pixel
    if step.group:  # then all panels are full
        columns = product.panels.full_vectors * LANES
        channel, end = panel * columns, last_panel * columns
    width, mask = layer.width, step.ring - 1
    ring = step.rings + thread * (step.ring + RING_SPACE) * width * pixel
    source, source_pixel = step.x.offset + n * step.x.image, step.x.pixel
    target = target_of(step, n)
    ready = max(first * layer.stride - layer.top, 0)
    for oy in range(first, min(first + step.rows, layer.out_height)):
        while ready < min(oy * layer.stride - layer.top + layer.size, layer.height):
            x = Rows(source + ready * width * source_pixel, source_pixel)
            y = Rows(ring + (ready & mask) * width * pixel - channel, pixel)
            multiply(arena, product, step.expand, Maps(x, y, Rows(-1, 0)), width, (panel, last_panel))
            ready += 1
        depthwise_row(arena, layer, oy, Source(ring - channel, mask, pixel), target, (channel, end))


KIND = Kind("band", RECORD, _run)


def encode(step: Band, encoder: Encoder) -> None:
    x, y, cut = encoder.places[step.inputs[0]], encoder.places[step.output], step.cut
    N, OH = y.shape[:2]
    _, _, W, C = encoder.shapes[step.expand.output]
    pixel = cut.group or C
    choice, seconds = encoder.costs.band(step, encoder.shapes)
    depthwise = encode_depthwise(step.depthwise, choice.strip, encoder)
    product, expand = encode_product(step.expand, choice.ahead, encoder)
    rows = encoder.threads * (cut.ring + RING_SPACE) - RING_SPACE
    encoder.row(
        KIND, step, N * -(-OH // cut.rows) * -(-C // pixel), choice=choice, seconds=seconds, y=y, x=x,
        rings=encoder.scratch(rows * W * pixel), pixel=pixel, rows=cut.rows, ring=cut.ring, group=cut.group // PANEL,
        expand=expand, product=product, depthwise=depthwise,
    )  # fmt: skip


DEFINITION = Definition(Band, encode, (KIND,))
