"""What `epcore.compile` gives: a network made ready for inference on one device, for x of one shape.

    plan = epcore.compile(model, batch=1)
    outputs = plan(x)               # what model(x) gives, several times faster
    print(plan.profile())

A plan is a snapshot: the weights as they are now, batch norms folded, all memory there. A call allocates what it returns and
nothing else; with `out` not even that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, NoReturn, TypeVar, cast

import numpy as np

from epcore.base.arrays import Array
from epcore.base.checks import check_whole
from epcore.graph import Graph
from epcore.graph.passes import at_inference
from epcore.inference.choice import NOTHING, Choice
from epcore.inference.step import Step
from epcore.models import EfficientPose, OpenPose, PoseOutputs
from epcore.network import Network
from epcore.not_numbers import Source
from epcore.shapes import Shape

POSE_NETWORKS = (EfficientPose, OpenPose)  # what a call gives is PoseOutputs

Outputs = TypeVar("Outputs")  # PoseOutputs of a pose network, of others the maps by label


@dataclass(frozen=True)
class Timing:
    """One step of a plan: median seconds of a run, FLOPs (2 x MACs) and bytes of its input, weights and output.

    choice, predicted: what the planner chose for it, and the seconds that its model (`epcore.inference.costs`) expects; None
    where nothing is chosen by the machine, on a GPU.
    """

    label: str
    kind: str
    seconds: float
    flops: int
    bytes: int
    choice: Choice = NOTHING
    predicted: float | None = None


class Profile(list[Timing]):
    """Timings of all steps in order; prints as a table."""

    def __str__(self) -> str:
        total = sum(timing.seconds for timing in self)
        lines = [f"{'step':<34}{'operator':<17}{'ms':>8}{'model':>8}{'share':>7}{'GFLOP/s':>9}{'GB/s':>7}  chosen"]
        for timing in self:
            rate = timing.flops / timing.seconds / 1e9 if timing.seconds else 0.0
            traffic = timing.bytes / timing.seconds / 1e9 if timing.seconds else 0.0
            line = (
                f"{_short(timing.label, 33):<34}{timing.kind:<17}{timing.seconds * 1e3:>8.3f}"
                f"{_milliseconds(timing.predicted):>8}"
            )
            lines.append(f"{line}{timing.seconds / total:>7.1%}{rate:>9.1f}{traffic:>7.1f}  {timing.choice}".rstrip())
        flops = sum(timing.flops for timing in self)
        known = [timing.predicted for timing in self if timing.predicted is not None]
        predicted = _milliseconds(sum(known) if known else None)
        lines.append(f"{'total':<51}{total * 1e3:>8.3f}{predicted:>8}{1:>7.1%}{flops / total / 1e9:>9.1f}")
        return "\n".join(lines)


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.3f}"


def _short(label: str, width: int) -> str:
    """A label, without its middle where it is too long."""
    return label if len(label) <= width else f"{label[: width // 2 - 1]}..{label[-(width - width // 2 - 1) :]}"


def timings(
    graph: Graph,
    x: Shape,
    rows: Sequence[tuple[Step, str]],
    seconds: Sequence[float],
    planned: Sequence[tuple[Choice, float | None]] = (),
) -> Profile:
    """The profile of steps, each with its label and its seconds; x: shape of the input; planned: what was chosen for each, and
    the seconds predicted."""
    costs, shapes = graph.costs(x[0], x[1:]), graph.shapes(x[0], x[1:])
    profile = Profile()
    decided = planned or [(NOTHING, None)] * len(rows)
    for (step, label), duration, (choice, predicted) in zip(rows, seconds, decided, strict=True):
        macs = 0 if step.concatenates else sum(costs[name].macs for name in step.nodes)
        elements = sum(prod(shapes[name]) for name in step.maps) + step.weight_count
        profile.append(Timing(label, step.operator, float(duration), 2 * macs, 4 * elements, choice, predicted))
    return profile


class Plan(ABC, Generic[Outputs]):
    """A compiled network: `CpuPlan` or `CudaGraphPlan`.

    name; batch, resolution (side, or (height, width)), input_shape, preprocessing: of the x it takes.
    """

    def __init__(self, model: Network, backend: str, batch: int, resolution: tuple[int, int]) -> None:
        self.name = model.name
        self.batch = batch
        self.resolution = resolution[0] if resolution[0] == resolution[1] else resolution
        self.input_shape = (batch, *resolution, model.graph.input_shape[2])
        self.preprocessing = model.preprocessing
        self.source = Source.of(model, backend)  # asked only where maps are not numbers
        self._pose = isinstance(model, POSE_NETWORKS)

    @abstractmethod
    def __call__(self, x: Array, *, out: Outputs | None = None) -> Outputs:
        """What the model gives for x, in new arrays of the caller's, or in those of `out`, which an earlier call returned."""

    @abstractmethod
    def profile(self, x: Array | None = None, repeats: int = 20) -> Profile:
        """Median time of every step over `repeats` runs, each step run by itself (so the sum is a little above a call)."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a plan cannot be pickled or copied: it is laid out for this processor and run by threads of this process; pickle "
            "the model, and call epcore.compile(model) where the plan is wanted"
        )

    def _wrap(self, arrays: dict[str, Array]) -> Outputs:
        return cast(Outputs, PoseOutputs.of(arrays) if self._pose else arrays)

    def _arrays(self, out: Outputs, labels: Collection[str]) -> Mapping[str, Any]:
        """The arrays of an `out` by label. Raises TypeError or ValueError where it is not what a call returns."""
        kind = PoseOutputs if self._pose else dict
        if not isinstance(out, kind):
            raise TypeError(f"out is a {type(out).__name__}, expected the {kind.__name__} that an earlier call returned")
        arrays: dict[str, Any] = out.by_label() if isinstance(out, PoseOutputs) else dict(out)
        if arrays.keys() != set(labels):
            raise ValueError(f"out has {', '.join(map(str, arrays)) or 'nothing'}, expected {', '.join(labels)}")
        return arrays


def outputs_of(model: Network) -> dict[str, str]:
    """Label -> node, of the outputs that a call of the model returns, at inference."""
    outputs = at_inference(model.graph).outputs
    pose = isinstance(model, POSE_NETWORKS)
    return {label: name for label, name in outputs.items() if not pose or PoseOutputs.holds(label)}


def check_model(model: Network, batch: int, resolution: int | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of x. Raises TypeError or ValueError for a model, or a batch, that no plan can be made of."""
    if not isinstance(model, Network):
        raise TypeError(f"model is a {type(model).__name__}, expected a network of epcore")
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first, plans use running statistics")
    if model.dtype != np.float32:
        raise TypeError(f"plans take float32 parameters, {model.name} has {model.dtype}")
    check_whole(batch, "batch")
    if resolution is None:
        height, width, _ = model.graph.input_shape
        return height, width
    return (resolution, resolution) if isinstance(resolution, int) else resolution
