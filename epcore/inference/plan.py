"""`epcore.compile`: a network as a plan for fast inference on the CPU.

    plan = epcore.compile(model, batch=1)
    outputs = plan(x)               # what model(x) gives, several times faster
    print(plan.profile())

A plan is a snapshot: the weights as they are now, batch norms folded, every buffer allocated. A call allocates what it returns
and nothing else; with `out` not even that. Any number of threads may call one plan: they take turns, and what each gets is its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, NoReturn

import numpy as np

from epcore.graph.passes import at_inference
from epcore.inference.fold import Layer, fold
from epcore.inference.program import Program, assemble
from epcore.kernels.cpu.arrays import empty
from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.threads import LINE, crew
from epcore.models.efficientpose import EfficientPose, PoseOutputs
from epcore.network import Network
from epcore.not_numbers import Source
from epcore.threads import check_threads, get_threads


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
        self._program: Program = assemble(layers, shapes, at_inference(model.graph).outputs, threads)
        self._crew = crew(threads)
        self._origin = self._program.arena.ctypes.data
        self._views = {label: self._view(label) for label in self._program.outputs}
        # Compiled (or loaded) here and not in the threads: one that failed would leave the others waiting.
        self._execute = _executor()
        counters = np.zeros(1, np.int64)
        self._execute(self._program.arena, self._program.arena, self._program.rows[:0], counters, counters, 0, 1)

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

    def __call__(self, x: np.ndarray, *, out: Any = None) -> Any:
        """What the model gives for x (batch, R, R, 3) float32, C-contiguous.

        The arrays returned are new and the caller's. out: what an earlier call returned; its arrays are written and it is
        returned again. It is the caller's to guard: nobody else may read or write it during the call, and after an exception
        in the call it holds anything.

        From several threads calls take turns, with those of all plans of as many threads if that is more than one. Raises
        TypeError or ValueError, naming what came, for any other x or out; RuntimeError in a signal handler that interrupted a
        plan.
        """
        self._check(x)
        arrays = self._allocate() if out is None else self._check_out(out, x)
        self._crew.call(lambda: self._compute(x, arrays))
        if out is not None:
            return out
        return PoseOutputs.of(arrays) if self._pose else arrays

    def profile(self, x: np.ndarray | None = None, repeats: int = 20) -> Profile:
        """Median time of every step over `repeats` runs, each step run by itself (so the sum is a little above a call)."""
        x = np.zeros(self.input_shape, np.float32) if x is None else x
        self._check(x)
        picture = x.reshape(-1)
        seconds = np.zeros((repeats, len(self._program.steps)))
        arrays = self._allocate()
        rows = self._rows(arrays)

        def measure() -> None:
            self._run(rows, picture, arrays)
            for run in range(repeats):
                for s in range(len(self._program.steps)):
                    started = perf_counter()
                    self._run(rows[s : s + 1], picture, arrays)
                    seconds[run, s] = perf_counter() - started

        self._crew.call(measure)
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

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a plan cannot be pickled or copied: it is laid out for this processor and run by threads of this process; pickle "
            "the model, and call epcore.compile(model) where the plan is wanted"
        )

    def _compute(self, x: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """The outputs for x into these arrays. Within the crew's `call`."""
        self._run(self._rows(arrays), x.reshape(-1), arrays)
        for label, view in self._views.items():
            arrays[label][...] = view

    def _run(self, rows: np.ndarray, picture: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Run these rows. Counters and rows are of this run only: a helper that comes late finds nothing left in them to do,
        even when the next run has begun. It holds the arrays as long as it might write to them."""
        program, execute, threads = self._program, self._execute, self.threads
        counters = np.zeros(len(rows) * threads * LINE, np.int64)
        done = np.zeros(len(rows) * LINE, np.int64)

        def work(thread: int, _held: Mapping[str, np.ndarray] = arrays) -> None:
            execute(program.arena, picture, rows, counters, done, thread, threads)

        self._crew.run(work)

    def _rows(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The program with outputs that go straight to these arrays: as distances from the arena, in elements."""
        rows = self._program.rows.copy()
        for label, step in self._program.direct.items():
            rows[step, f.Y] = (arrays[label].ctypes.data - self._origin) // 4
        return rows

    def _allocate(self) -> dict[str, np.ndarray]:
        """New arrays for the outputs, by label in the network's order."""
        return {label: empty(shape) for label, shape in self._program.shapes.items()}

    def _view(self, label: str) -> np.ndarray:
        place = self._program.outputs[label]
        N, H, W, C = place.shape
        strides = (4 * place.image, 4 * W * place.pixel, 4 * place.pixel, 4)
        return np.lib.stride_tricks.as_strided(self._program.arena[place.offset :], (N, H, W, C), strides)

    def _check_out(self, out: Any, x: np.ndarray) -> dict[str, np.ndarray]:
        expected = self._program.shapes
        kind = PoseOutputs if self._pose else dict
        if not isinstance(out, kind):
            raise TypeError(f"out is a {type(out).__name__}, expected the {kind.__name__} that an earlier call returned")
        arrays = out.by_label() if isinstance(out, PoseOutputs) else out
        if arrays.keys() != expected.keys():
            raise ValueError(f"out has {', '.join(map(str, arrays)) or 'nothing'}, expected {', '.join(expected)}")
        earlier = {"x": x}
        for label, shape in expected.items():
            array = arrays[label]
            if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
                came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
                raise ValueError(f"out: {label} is {came}, expected float32 {shape}")
            if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
                raise ValueError(f"out: {label} has to be C-contiguous, aligned and writeable")
            for name, other in earlier.items():
                if np.may_share_memory(array, other):  # exact, as both are in one piece
                    raise ValueError(f"out: {label} overlaps {name}")
            earlier[label] = array
        return dict(arrays)

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
    return Plan(model, batch, resolution, threads)  # type: ignore[arg-type]
