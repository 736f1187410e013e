"""From steps to a program: constants laid out, tensors placed, one record for every step that runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from epcore.inference.choice import NOTHING, Choice
from epcore.inference.layout import ALIGNMENT, Buffer, Place, allocate, place_tensors
from epcore.inference.step import Convolution, NoPlanError, Step
from epcore.inference.steps import definition, kinds
from epcore.inference.steps.band import Band
from epcore.inference.steps.depthwise import Depthwise
from epcore.inference.steps.pointwise import Pointwise
from epcore.inference.steps.record import Y_OFFSET, Kind
from epcore.kernels.cpu.panels import Panels, cut
from epcore.kernels.cpu.processor import LANES
from epcore.shapes import Shape

_SLACK = 1024  # vectors that stick out behind the last pixel read here, and nothing uses what they read


@dataclass(eq=False)
class Row:
    """One record of the program: its kind, the step it came from, a name for the profile, and its fields, of which some (a
    Place, a Buffer) are known when all places are. choice, seconds: what the planner chose, and what it takes by its model."""

    number: int
    kind: Kind
    step: Step
    label: str
    fields: dict[str, Any]
    choice: Choice
    seconds: float


@dataclass
class Program:
    """rows (steps, words) int64; arena float32 with the constants in it.

    outputs: label -> place in the arena. shapes: label -> shape of every output. direct: label -> the row that writes this
    output where its record says, outside the arena; nothing reads it there, and it has no place.
    """

    rows: np.ndarray
    arena: np.ndarray
    steps: list[Row]
    outputs: dict[str, Place]
    shapes: dict[str, Shape]
    direct: dict[str, int]
    constant_bytes: int
    working_bytes: int


class Predictions(Protocol):
    """What `epcore.inference.costs` says of steps: what is best for one and the seconds it takes then, or just these."""

    threads: int

    def pointwise(self, step: Pointwise, shapes: Mapping[str, Shape]) -> tuple[Choice, float]: ...
    def depthwise(self, step: Depthwise, shapes: Mapping[str, Shape]) -> tuple[Choice, float]: ...
    def band(self, step: Band, shapes: Mapping[str, Shape]) -> tuple[Choice, float]: ...
    def other(self, step: Step, shapes: Mapping[str, Shape], tasks: int) -> float: ...


class Encoder:
    """What steps need to encode themselves: shapes and places of values, room for constants and scratch memory, rows."""

    def __init__(self, shapes: Mapping[str, Shape], places: Mapping[str, Place], costs: Predictions) -> None:
        self.shapes, self.places, self.costs, self.threads = shapes, places, costs, costs.threads
        self.rows: list[Row] = []
        self._kinds = kinds()
        self.frames: dict[tuple[str, Any], Place] = {}  # of read.py
        self.halved: set[str] = set()  # values that are the half of the picture
        self.gates: dict[str, Row] = {}
        self._sums: dict[str, Buffer] = {}
        self._constants: list[np.ndarray] = []
        self._constant_size = 0

    def constant(self, array: np.ndarray) -> int:
        """Offset of a constant in the arena."""
        flat = np.ravel(array).astype(np.float32)
        offset = self._constant_size
        room = _aligned_size(flat.size)
        self._constants.append(np.pad(flat, (0, room - flat.size)))
        self._constant_size += room
        return offset

    def scratch(self, size: int) -> Buffer:
        """Memory for `size` numbers, as long as rows have it among their fields; vectors may read beyond its end."""
        return Buffer(size + _SLACK)

    def sums(self, output: str) -> Buffer:
        """Where the sums of the rows of a depthwise layer's output are: one buffer for who writes and who reads them."""
        if output not in self._sums:
            N, H, _, C = self.shapes[output]
            self._sums[output] = Buffer(N * H * C)
        return self._sums[output]

    def cut(self, step: Convolution, columns: int) -> Panels:
        """Its output channels as panels. Raises ValueError, naming it, for fewer than a vector."""
        if columns < LANES:
            raise NoPlanError(
                f"compile: {step.output} has {columns} output channels, fewer than a vector of {LANES}: run the model itself"
            )
        return cut(columns)

    def row(
        self, kind: Kind, step: Step, tasks: int, /, *, label: str = "", choice: Choice = NOTHING, seconds: float = -1.0,
        **fields: Any,
    ) -> Row:  # fmt: skip
        """A new row. choice, seconds: what `costs` said of the step, if something of it is chosen. fields: by name; a Place
        for a tensor, a Buffer for an offset, a dict for a nested record."""
        seconds = self.costs.other(step, self.shapes, tasks) if seconds < 0 else seconds
        row = Row(len(self.rows), kind, step, label or step.output, {}, choice, seconds)
        self.rows.append(row)
        self.set(row, kind=self._kinds.index(kind), tasks=tasks, **fields)
        return row

    def set(self, row: Row, /, **fields: Any) -> None:
        """Give a row more fields, or other ones."""
        row.fields.update(fields)

    def scale_weights(self, gate: str, project: Row, weights: int, product: Mapping[str, Any]) -> None:
        """Let the gate write a scaled copy of the projection's weights for each image, and the projection read it."""
        panels: Panels = product["panels"]
        vectors = panels.full * panels.full_vectors + panels.rest * panels.rest_vectors
        room = _aligned_size(product["depth"] * vectors * LANES)
        batch = self.shapes[project.step.output][0]
        scaled = Buffer(batch * room)
        self.set(self.gates[gate], panels=panels, project=weights, scaled=scaled, scaled_image=room)
        self.set(project, weights=scaled, weights_image=room)

    def finish(self, outputs: Mapping[str, str]) -> Program:
        """Lay out the arena and write the records."""
        uses: dict[Buffer, list[tuple[int, str]]] = {}
        for row in self.rows:
            for name, buffer in _buffers(row.fields):
                buffer.use(row.number)
                uses.setdefault(buffer, []).append((row.number, name))
        direct = self._direct(outputs, uses)
        kept = {label: self.places[name] for label, name in outputs.items() if label not in direct}
        for place in kept.values():
            place.buffer.use(len(self.rows) - 1)
        outside = {self.places[outputs[label]].buffer for label in direct}
        end = allocate([buffer for buffer in uses if buffer not in outside], self._constant_size)
        words = max(row.kind.record.itemsize for row in self.rows) // 8
        rows = np.zeros((len(self.rows), words), np.int64)
        for row in self.rows:
            record = rows[row.number].view(np.uint8)[: row.kind.record.itemsize].view(row.kind.record)[0]
            _write(record, row.fields)
        arena = _aligned(end + _SLACK)
        arena[: self._constant_size] = np.concatenate(self._constants)
        arena[self._constant_size :] = 0
        return Program(
            rows,
            arena,
            self.rows,
            kept,
            {label: self.shapes[name] for label, name in outputs.items()},
            direct,
            4 * self._constant_size,
            4 * (arena.size - self._constant_size),
        )

    def _direct(self, outputs: Mapping[str, str], uses: Mapping[Buffer, Sequence[tuple[int, str]]]) -> dict[str, int]:
        """Outputs that one row writes, alone in their buffer, and none reads: they can lie anywhere. The kernels of these
        rows reach them by their distance from the arena, however far that is, and never ask whether it is negative."""
        names = Counter(outputs.values())
        direct = {}
        for label, name in outputs.items():
            place = self.places[name]
            used = uses[place.buffer]
            if len(used) == 1 and used[0][1] == "y" and place.start == 0 and place.pixel == place.shape[3] and names[name] == 1:
                direct[label] = used[0][0]
        return direct


def encode(steps: Sequence[Step], shapes: Mapping[str, Shape], outputs: Mapping[str, str], costs: Predictions) -> Program:
    """The program of these steps. Raises ValueError, naming the layer, for what the kernels do not know."""
    encoder = Encoder(shapes, place_tensors(steps, shapes, outputs.values()), costs)
    for step in steps:
        definition(type(step)).encode(step, encoder)
    return encoder.finish(outputs)


def redirect(rows: np.ndarray, number: int, offset: int) -> None:
    """Let a row write its output at this offset."""
    rows[number, Y_OFFSET] = offset


def _buffers(fields: Mapping[str, Any]) -> list[tuple[str, Buffer]]:
    found: list[tuple[str, Buffer]] = []
    for name, value in fields.items():
        if isinstance(value, Place):
            found.append((name, value.buffer))
        elif isinstance(value, Buffer):
            found.append((name, value))
        elif isinstance(value, dict):
            found += _buffers(value)
    return found


def _write(record: Any, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _write(record[name], value)
        elif isinstance(value, Place):
            record[name] = (value.offset, value.image, value.pixel)
        else:
            record[name] = value.offset if isinstance(value, Buffer) else tuple(value) if isinstance(value, tuple) else value


def _aligned_size(size: int) -> int:
    """Numbers that a constant of `size` takes: a vector may be read at its end, and the next one begins on a cache line."""
    return -(-(size + LANES) // ALIGNMENT) * ALIGNMENT


def _aligned(size: int) -> np.ndarray:
    """Uninitialised float32 that begins on a cache line."""
    room = np.empty(size + ALIGNMENT, np.float32)
    skip = -room.ctypes.data % 64 // 4
    return room[skip : skip + size]
