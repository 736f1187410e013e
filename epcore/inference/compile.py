"""`epcore.compile`: a network as a plan, and the story of how it becomes one."""

from __future__ import annotations

from typing import Any, overload

from epcore.base.arrays import is_cupy
from epcore.inference.bands import choose_bands
from epcore.inference.costs import Costs
from epcore.inference.cpu_plan import CpuPlan
from epcore.inference.encode import Program, encode
from epcore.inference.executor import addresses
from epcore.inference.fuse import fuse
from epcore.inference.machine import Machine, this_machine, unmeasured_machine
from epcore.inference.plan import Plan, check_model, outputs_of
from epcore.models import EfficientPose, OpenPose, PoseOutputs
from epcore.network import Network
from epcore.threads import check_threads, get_threads


def program(model: Network, batch: int, resolution: tuple[int, int], threads: int, machine: Machine | None = None) -> Program:
    """What a plan runs. machine: it is made for, by default the one we are on.

    Raises ValueError, naming the layer, for what plans do not know.
    """

    def prepare() -> None:
        """Compile what the plan will need, all of it side by side, and not first what prices are measured with."""
        addresses(row.kind for row in program(model, batch, resolution, threads, unmeasured_machine()).steps)

    graph = model.graph
    shapes = graph.shapes(batch, (*resolution, graph.input_shape[2]))
    outputs = outputs_of(model)
    steps = fuse(graph, model.parameters)  # convolution, batch norm, activation, sum: one step
    costs = Costs(machine or this_machine(prepare), threads)  # what any way to cut a step would take
    steps = choose_bands(steps, shapes, outputs.values(), costs)  # wide maps that never exist as a whole
    return encode(steps, shapes, outputs, costs)  # a place for every map, a record for every step


@overload
def compile(
    model: EfficientPose | OpenPose,
    batch: int = 1,
    *,
    resolution: int | tuple[int, int] | None = None,
    threads: int | None = None,
) -> Plan[PoseOutputs]: ...


@overload
def compile(
    model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None, threads: int | None = None
) -> Plan[Any]: ...


def compile(
    model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None, threads: int | None = None
) -> Plan[Any]:
    """A plan that computes what `model` does at inference, for x of one shape, where its parameters are: on the CPU, or as one
    CUDA graph.

    resolution: side, or (height, width), of x; the model's own by default. threads: of the CPU, `epcore.get_threads()` by
    default. Raises TypeError for anything but a float32 network and ValueError for a network with parts that plans do not know,
    for a batch or thread count below 1, for more threads than `epcore.threads.MOST`, and for a model in training mode.
    """
    sides = check_model(model, batch, resolution)
    if is_cupy(model.any_parameter):
        if threads is not None:
            raise ValueError(f"threads is {threads}: they are of the CPU, and {model.name} is on a GPU")
        from epcore.inference.cuda_graph import CudaGraphPlan

        return CudaGraphPlan(model, batch, resolution=sides)
    threads = get_threads() if threads is None else check_threads(threads, "threads")
    return CpuPlan(model, program(model, batch, sides, threads), batch, sides, threads)
