"""`epcore.compile`: a network as a plan for fast inference on the CPU.

    plan = epcore.compile(model, batch=1)
    outputs = plan(x)               # what model(x) gives, several times faster
    print(plan.profile())

A plan is a snapshot: the weights as they are now, batch norms folded, every buffer allocated. A call allocates nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from epcore.inference.fold import Layer, fold
from epcore.inference.program import Program, assemble
from epcore.models.efficientpose import EfficientPose, PoseOutputs
from epcore.network import Network
from epcore.not_numbers import Source
from epcore.threads import get_threads


@dataclass(frozen=True)
class Timing:
    """One step of a plan: median seconds of a run, FLOPs (2 x MACs) and bytes of its input, weights and output."""

    label: str
    kind: str
    seconds: float
    flops: int
    bytes: int


class Profile(list[Timing]):
    """Timings of all steps in order; prints as a table."""

    def __str__(self) -> str:
        total = sum(timing.seconds for timing in self)
        lines = [f"{'step':<44}{'operator':<18}{'ms':>8}{'share':>8}{'GFLOP/s':>10}{'GB/s':>8}"]
        for timing in self:
            rate = timing.flops / timing.seconds / 1e9 if timing.seconds else 0.0
            traffic = timing.bytes / timing.seconds / 1e9 if timing.seconds else 0.0
            lines.append(
                f"{timing.label:<44}{timing.kind:<18}{timing.seconds * 1e3:>8.3f}{timing.seconds / total:>8.1%}"
                f"{rate:>10.1f}{traffic:>8.1f}"
            )
        flops = sum(timing.flops for timing in self)
        lines.append(f"{'total':<62}{total * 1e3:>8.3f}{1:>8.1%}{flops / total / 1e9:>10.1f}")
        return "\n".join(lines)


class Plan:
    """A compiled network. Made by `epcore.compile`.

    batch, resolution, input_shape, preprocessing: of the x it takes. threads: how many run it. arena_bytes: all the memory it
    works in; constant_bytes of it are weights, working_bytes are maps (each place used by many of them in turn).
    """

    def __init__(self, model: Network, batch: int, resolution: tuple[int, int], threads: int) -> None:
        from epcore.kernels.cpu.fused.threads import LINE, crew

        self.name = model.name
        self.batch, self.threads = batch, threads
        self.resolution = resolution[0] if resolution[0] == resolution[1] else resolution
        self._graph = model.graph
        self.source = Source.of(model, "cpu")  # asked only where maps are not numbers
        self.input_shape = (batch, *resolution, model.graph.input_shape[2])
        self._pose = isinstance(model, EfficientPose)
        self.preprocessing = getattr(model, "preprocessing", "imagenet")
        layers = fold(model.graph, model.parameters)
        shapes = model.graph.shapes(batch, self.input_shape[1:])
        self._program: Program = assemble(layers, shapes, model.graph.outputs, threads)
        self._counters = np.zeros(len(self._program.steps) * threads * LINE, np.int64)
        self._done = np.zeros(len(self._program.steps) * LINE, np.int64)
        self._crew = crew(threads)
        self._lock = threading.Lock()
        self._outputs = {label: self._view(label) for label in self._program.outputs}
        # Compiled (or loaded) here and not in the threads: one that failed would leave the others waiting.
        self._execute = _executor()
        self._execute(self._program.arena, self._program.arena, self._program.rows[:0], self._counters, self._done, 0, 1)

    @property
    def layers(self) -> list[Layer]:
        """The fused layer of every step, in order (reading the picture and copies into concatenations are steps too)."""
        return [step.layer for step in self._program.steps]

    @property
    def constant_bytes(self) -> int:
        return self._program.constant_bytes

    @property
    def working_bytes(self) -> int:
        return self._program.working_bytes

    @property
    def arena_bytes(self) -> int:
        return self._program.arena.nbytes

    def __call__(self, x: np.ndarray) -> Any:
        """What the model gives for x (batch, R, R, 3) float32, C-contiguous.

        The arrays returned belong to the plan and hold until its next call: copy what you keep. Raises TypeError or
        ValueError, naming what came, for any other x.
        """
        self._check(x)
        with self._lock:
            self._run(self._program.rows, x.reshape(-1))
        return PoseOutputs.of(self._outputs) if self._pose else dict(self._outputs)

    def profile(self, x: np.ndarray | None = None, repeats: int = 20) -> Profile:
        """Median time of every step over `repeats` runs, each step run by itself (so the sum is a little above a call)."""
        x = np.zeros(self.input_shape, np.float32) if x is None else x
        self._check(x)
        seconds = np.zeros((repeats, len(self._program.steps)))
        with self._lock:
            self._run(self._program.rows, x.reshape(-1))
            for run in range(repeats):
                for s in range(len(self._program.steps)):
                    started = perf_counter()
                    self._run(self._program.rows[s : s + 1], x.reshape(-1))
                    seconds[run, s] = perf_counter() - started
        costs = self._graph.costs(self.batch, self.input_shape[1:])
        shapes = self._graph.shapes(self.batch, self.input_shape[1:])
        timings = Profile()
        for s, step in enumerate(self._program.steps):
            layer = step.layer
            macs = 0 if "(copy)" in step.label else sum(costs[name].macs for name in layer.nodes)
            touched = [*layer.inputs, layer.output] + ([layer.residual] if layer.residual else [])
            elements = sum(int(np.prod(shapes[name])) for name in touched)
            elements += 0 if layer.weights is None else layer.weights.size
            timings.append(Timing(step.label, layer.op, median(seconds[:, s]), 2 * macs, 4 * elements))
        return timings

    def __repr__(self) -> str:
        return (
            f"Plan({self.name}, x {self.input_shape}, {len(self._program.steps)} steps, {self.threads} threads, "
            f"{self.constant_bytes / 2**20:.1f} MiB constants, {self.working_bytes / 2**20:.1f} MiB working memory)"
        )

    def _run(self, rows: np.ndarray, picture: np.ndarray) -> None:
        from epcore.inference.executor import execute

        program = self._program
        self._counters[:] = self._done[:] = 0
        self._crew.run(lambda thread: execute(program.arena, picture, rows, self._counters, self._done, thread, self.threads))

    def _view(self, label: str) -> np.ndarray:
        place = self._program.outputs[label]
        N, H, W, C = place.shape
        strides = (4 * place.image, 4 * W * place.pixel, 4 * place.pixel, 4)
        view = np.lib.stride_tricks.as_strided(self._program.arena[place.offset :], (N, H, W, C), strides)
        view.flags.writeable = False
        return view

    def _check(self, x: np.ndarray) -> None:
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x is a {type(x).__name__}, expected a NumPy array: plans run on the CPU")
        if x.dtype != np.float32:
            raise TypeError(f"x has dtype {x.dtype}, expected float32")
        if x.shape != self.input_shape:
            raise ValueError(f"x has shape {x.shape}, expected {self.input_shape}: compile again for another one")
        if not x.flags.c_contiguous:
            raise ValueError("x is not C-contiguous, expected np.ascontiguousarray(x)")
        if not np.isfinite(x).all():
            raise ValueError(f"x has {int((~np.isfinite(x)).sum())} values that are NaN or infinite")


def _executor() -> Callable[..., None]:
    from epcore.inference.executor import execute

    return execute


def compile(
    model: Network, batch: int = 1, *, resolution: int | tuple[int, int] | None = None, threads: int | None = None
) -> Plan:
    """A plan that computes what `model` does at inference, for x of one shape.

    resolution: side, or (height, width), of x; the model's own by default. threads: `epcore.get_threads()` by default.
    Raises TypeError for anything but a float32 network on NumPy arrays and ValueError for a network with parts that plans
    do not know, for a batch or thread count below 1, and for a model in training mode.
    """
    if not isinstance(model, Network):
        raise TypeError(f"model is a {type(model).__name__}, expected a network of epcore")
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first, plans use running statistics")
    if model.dtype != np.float32 or not all(isinstance(array, np.ndarray) for array in model.parameters.values()):
        raise TypeError(f"compile takes float32 parameters in NumPy arrays, {model.name} has {model.dtype}")
    threads = get_threads() if threads is None else threads
    for name, number in (("batch", batch), ("threads", threads)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} is {number!r}, expected a whole number above 0")
    if resolution is None:
        resolution = model.graph.input_shape[:2]  # type: ignore[assignment]
    elif isinstance(resolution, int):
        resolution = (resolution, resolution)
    return Plan(model, batch, resolution, threads)  # type: ignore[arg-type]
