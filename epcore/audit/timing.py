"""Measured time of a network beside its work, stage by stage: its plan on this CPU, with random weights.

A plan's step stands for several layers; it counts for the stage of the first. Reading the picture and copies into
concatenations are steps without a layer, and a row of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from epcore.audit.layers import count_layers
from epcore.network import Network

MOVING = "picture and copies"


@dataclass(frozen=True)
class StageTime:
    """One stage at batch 1: layers, FLOPs (convention `flops`) and bytes as `LayerCount` has them; median seconds."""

    stage: str
    layers: int
    flops: int
    bytes: int
    seconds: float


def time_stages(model: Network, *, threads: int | None = None, repeats: int = 20) -> list[StageTime]:
    """Every stage of a network in order, each step measured by itself. Raises ValueError for a network plans do not know."""
    from epcore.inference.compile import compile  # here: they take Numba with them, which counting does not need
    from epcore.inference.cpu_plan import CpuPlan

    plan = compile(model, threads=threads)
    assert isinstance(plan, CpuPlan)
    stages = {node.name: node.stage for node in model.graph.nodes.values()}
    seconds = dict.fromkeys([*stages.values(), MOVING], 0.0)
    for step, timing in zip(plan.steps, plan.profile(repeats=repeats), strict=True):
        own = [] if step.concatenates else step.nodes
        seconds[stages[own[0]] if own else MOVING] += timing.seconds
    layers = count_layers(model.graph)
    return [
        StageTime(stage, len(own), sum(each.flops for each in own), sum(each.moved_bytes for each in own), seconds[stage])
        for stage in seconds
        for own in [[layer for layer in layers if layer.stage == stage]]
    ]
