"""A plan on the CPU: a program of fused kernels, run by a crew of threads.

Any number of threads may call one plan: they take turns, and what each gets is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

import numpy as np

from epcore.base.arrays import require_finite
from epcore.inference.encode import Program, redirect
from epcore.inference.executor import addresses, execute
from epcore.inference.plan import Outputs, Plan, Profile, timings
from epcore.inference.step import Step
from epcore.kernels.cpu.arrays import empty
from epcore.kernels.cpu.crew import LINE, crew
from epcore.network import Network


class CpuPlan(Plan[Outputs]):
    """A network compiled for the CPU. Made by `epcore.compile`.

    threads: how many run it. arena_bytes: all the memory it works in; constant_bytes of it are weights, working_bytes are maps
    (each place used by many of them in turn).
    """

    def __init__(self, model: Network, program: Program, batch: int, resolution: tuple[int, int], threads: int) -> None:
        super().__init__(model, "cpu", batch, resolution)
        self.threads = threads
        self._graph = model.graph
        self._program = program
        self._crew = crew(threads)
        self._origin = self._program.arena.ctypes.data
        self._views = {label: self._view(label) for label in self._program.outputs}
        # Compiled (or loaded) here and not in the threads: one that failed would leave the others waiting.
        self._functions = addresses(row.kind for row in program.steps)
        counters = np.zeros(1, np.int64)
        execute(program.arena, program.arena, program.rows[:0], self._functions, counters, counters, 0, 1)

    @property
    def steps(self) -> list[Step]:
        """What every row of the program does, in order (reading the picture and copies into concatenations are steps too)."""
        return [row.step for row in self._program.steps]

    @property
    def constant_bytes(self) -> int:
        return self._program.constant_bytes

    @property
    def working_bytes(self) -> int:
        return self._program.working_bytes

    @property
    def arena_bytes(self) -> int:
        return self._program.arena.nbytes

    def __call__(self, x: np.ndarray, *, out: Outputs | None = None) -> Outputs:
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
        return self._wrap(arrays) if out is None else out

    def profile(self, x: np.ndarray | None = None, repeats: int = 20) -> Profile:
        """Median time of every step over `repeats` runs, each step run by itself (so the sum is a little above a call), beside
        what the planner chose for it and what it expected."""
        x = np.zeros(self.input_shape, np.float32) if x is None else x
        self._check(x)
        picture = x.reshape(-1)
        seconds = np.zeros((repeats, len(self._program.steps)))
        arrays = self._allocate()
        records = self._rows(arrays)

        def measure() -> None:
            self._run(records, picture, arrays)
            for run in range(repeats):
                for s in range(len(self._program.steps)):
                    started = perf_counter()
                    self._run(records[s : s + 1], picture, arrays)
                    seconds[run, s] = perf_counter() - started

        self._crew.call(measure)
        rows = [(row.step, row.label) for row in self._program.steps]
        planned = [(row.choice, row.seconds) for row in self._program.steps]
        return timings(self._graph, self.input_shape, rows, np.median(seconds, axis=0).tolist(), planned)

    def __repr__(self) -> str:
        return (
            f"CpuPlan({self.name}, x {self.input_shape}, {len(self._program.steps)} steps, {self.threads} threads, "
            f"{self.constant_bytes / 2**20:.1f} MiB constants, {self.working_bytes / 2**20:.1f} MiB working memory)"
        )

    def _compute(self, x: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """The outputs for x into these arrays. Within the crew's `call`."""
        self._run(self._rows(arrays), x.reshape(-1), arrays)
        for label, view in self._views.items():
            arrays[label][...] = view

    def _run(self, rows: np.ndarray, picture: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Run these rows. Counters and rows are of this run only: a helper that comes late finds nothing left in them to do,
        even when the next run has begun. It holds the arrays as long as it might write to them."""
        program, functions, threads = self._program, self._functions, self.threads
        counters = np.zeros(len(rows) * threads * LINE, np.int64)
        done = np.zeros(len(rows) * LINE, np.int64)

        def work(thread: int, _held: Mapping[str, np.ndarray] = arrays) -> None:
            execute(program.arena, picture, rows, functions, counters, done, thread, threads)

        self._crew.run(work)

    def _rows(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The program with outputs that go straight to these arrays: as distances from the arena, in elements."""
        rows = self._program.rows.copy()
        for label, step in self._program.direct.items():
            redirect(rows, step, (arrays[label].ctypes.data - self._origin) // 4)
        return rows

    def _allocate(self) -> dict[str, np.ndarray]:
        """New arrays for the outputs, by label in the network's order."""
        return {label: empty(shape) for label, shape in self._program.shapes.items()}

    def _view(self, label: str) -> np.ndarray:
        place = self._program.outputs[label]
        N, H, W, C = place.shape
        strides = (4 * place.image, 4 * W * place.pixel, 4 * place.pixel, 4)
        return np.lib.stride_tricks.as_strided(self._program.arena[place.offset :], (N, H, W, C), strides)

    def _check_out(self, out: Outputs, x: np.ndarray) -> dict[str, np.ndarray]:
        arrays = self._arrays(out, self._program.shapes)
        earlier = {"x": x}
        for label, shape in self._program.shapes.items():
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
        require_finite(x, "x")
