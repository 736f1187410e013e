"""A step of one file, as `epcore/inference/steps` has them: the mean of size x size pixels, one row of output pixels a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from epcore.inference.step import Step
from epcore.inference.steps.record import TENSOR, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import load_partial, splat, store_partial

RECORD = record(*fields(integers="width channels out_height out_width size", x=TENSOR))
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class AveragePool(Step):
    operator: ClassVar[str] = "avg_pool"

    size: int


@step_kernel
def _run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    step = _view(row)
    n, oy = task // step.out_height, task % step.out_height
    share = np.float32(1.0) / np.float32(step.size * step.size)
    for ox in range(step.out_width):
        y = step.y.offset + n * step.y.image + (oy * step.out_width + ox) * step.y.pixel
        for c in range(0, step.channels, LANES):
            total = splat(0.0, 1)
            for u in range(step.size):
                for v in range(step.size):
                    pixel = (oy * step.size + u) * step.width + ox * step.size + v
                    x = step.x.offset + n * step.x.image + pixel * step.x.pixel
                    total = total + load_partial(arena, x + c, step.channels - c)
            store_partial(arena, y + c, total * share, step.channels - c)


KIND = Kind("mine", RECORD, _run)


def encode(step: AveragePool, encoder: Any) -> None:
    x, y = encoder.places[step.inputs[0]], encoder.places[step.output]
    N, OH, OW, C = y.shape
    encoder.row(
        KIND, step, N * OH, y=y, x=x, width=x.shape[2], channels=C, out_height=OH, out_width=OW, size=step.size
    )  # fmt: skip


def fuse(fuser: Any, node: Any) -> list[Step]:
    return [AveragePool(size=node.attributes["size"], **fuser.alone(node))]


DEFINITION = Definition(AveragePool, encode, (KIND,), {"avg_pool": fuse})
