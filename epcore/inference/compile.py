"""`epcore.compile`: a network as a plan, and the story of how it becomes one."""

from __future__ import annotations

import numpy as np

from epcore.graph.passes import at_inference
from epcore.inference.bands import choose_bands
from epcore.inference.encode import Program, encode
from epcore.inference.fuse import fuse
from epcore.inference.plan import Plan
from epcore.network import Network
from epcore.threads import check_threads, get_threads


def program(model: Network, batch: int, resolution: tuple[int, int], threads: int) -> Program:
    """What a plan runs. Raises ValueError, naming the layer, for what plans do not know."""
    graph = model.graph
    shapes = graph.shapes(batch, (*resolution, graph.input_shape[2]))
    outputs = at_inference(graph).outputs
    steps = fuse(graph, model.parameters)  # convolution, batch norm, activation, sum: one step
    steps = choose_bands(steps, shapes, outputs.values(), threads)  # wide maps that never exist as a whole
    return encode(steps, shapes, outputs, threads)  # a place for every map, a record for every step


def compile(
    model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None, threads: int | None = None
) -> Plan:
    """A plan that computes what `model` does at inference, for x of one shape.

    resolution: side, or (height, width), of x; the model's own by default. threads: `epcore.get_threads()` by default.
    Raises TypeError for anything but a float32 network on NumPy arrays and ValueError for a network with parts that plans
    do not know, for a batch or thread count below 1, for more threads than `epcore.threads.MOST`, and for a model in training
    mode.
    """
    if not isinstance(model, Network):
        raise TypeError(f"model is a {type(model).__name__}, expected a network of epcore")
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first, plans use running statistics")
    if model.dtype != np.float32 or not all(isinstance(array, np.ndarray) for array in model.parameters.values()):
        raise TypeError(f"compile takes float32 parameters in NumPy arrays, {model.name} has {model.dtype}")
    threads = get_threads() if threads is None else threads
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch is {batch!r}, expected a whole number above 0")
    check_threads(threads, "threads")
    if resolution is None:
        resolution = model.graph.input_shape[:2]  # type: ignore[assignment]
    elif isinstance(resolution, int):
        resolution = (resolution, resolution)
    sides: tuple[int, int] = resolution  # type: ignore[assignment]
    return Plan(model, program(model, batch, sides, threads), batch, sides, threads)
