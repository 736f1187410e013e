"""The steps of a plan, one file a kind: its type, its record, its kernel, what becomes it. A new one is a file and its line."""

from __future__ import annotations

from epcore.inference.step import Step
from epcore.inference.steps import band, dense, depthwise, elementwise, gate, pointwise, pool, read, upscale
from epcore.inference.steps.record import Definition, Kind

DEFINITIONS: list[Definition] = [
    pointwise.DEFINITION,
    depthwise.DEFINITION,
    band.DEFINITION,
    gate.DEFINITION,
    dense.DEFINITION,
    read.DEFINITION,
    *elementwise.DEFINITIONS,
    pool.DEFINITION,
    upscale.DEFINITION,
]


def definition(step: type[Step]) -> Definition:
    """The one of this type."""
    return next(each for each in DEFINITIONS if each.step is step)


def kinds() -> tuple[Kind, ...]:
    """All kinds of records; a row holds the number of its own among them."""
    return tuple(kind for each in DEFINITIONS for kind in each.kinds)
