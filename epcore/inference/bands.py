"""Which expansions are computed inside the depthwise layer that reads them, a band of rows and a group of channels at a time.

Worth it where the expanded map is too large for a core's cache. Both cuts have a price: neighbouring bands both expand the rows
between them, and every group reads the whole input again. `epcore.inference.costs` knows what each takes, and what the two
layers take by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from epcore.inference.costs import Costs
from epcore.inference.step import Step
from epcore.inference.steps.band import Band, Cut
from epcore.inference.steps.depthwise import Depthwise, is_known
from epcore.inference.steps.pointwise import Pointwise
from epcore.shapes import Shape

GAIN = 0.02  # share of both layers' time that a band has to save: less is not worth its rings, nor known so well


def choose_bands(steps: Sequence[Step], shapes: Mapping[str, Shape], outputs: Collection[str], costs: Costs) -> list[Step]:
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
            and (cut := _cut(before, step, shapes, costs)) is not None
        ):
            nodes = before.nodes + step.nodes
            chosen[-1] = Band(inputs=before.inputs, output=step.output, nodes=nodes, expand=before, depthwise=step, cut=cut)
        else:
            chosen.append(step)
    return chosen


def _cut(expand: Pointwise, depthwise: Depthwise, shapes: Mapping[str, Shape], costs: Costs) -> Cut | None:
    """The best cut of the two; None where they are better left alone, or have to be."""
    if not expand.activation.same_as(depthwise.activation) or expand.residual is not None or expand.gate is not None:
        return None
    if not is_known(depthwise):
        return None
    best = costs.cut(expand, depthwise, shapes)
    apart = costs.pointwise(expand, shapes)[1] + costs.depthwise(depthwise, shapes)[1]
    return best[0] if best is not None and best[1] < (1 - GAIN) * apart else None
