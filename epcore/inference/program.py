"""From fused layers to a program: constants laid out, tensors placed, one row of numbers for every step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from epcore.graph import INPUT
from epcore.inference.bands import PANEL, fuse_expansions
from epcore.inference.fold import Gate, Layer
from epcore.inference.layout import ALIGNMENT, Buffer, Place, allocate, members, place_tensors
from epcore.kernels.cpu.fused import fields as f
from epcore.kernels.cpu.fused.depthwise import STRIP, STRIP_STRIDE2, STRIPS
from epcore.kernels.cpu.fused.pointwise import ROWS
from epcore.kernels.cpu.processor import CACHE_BYTES, LANES, RING_SPACE
from epcore.shapes import Shape, same_padding

_KINDS = {"": f.LINEAR, "swish": f.SWISH, "eswish": f.SWISH, "relu": f.RELU}
_SLACK = 1024  # vectors that stick out behind the last pixel read here, and nothing uses what they read


@dataclass
class Step:
    """One row of the program, the layer it came from and a name for the profile."""

    layer: Layer
    label: str
    numbers: dict[int, int]


@dataclass
class Program:
    """rows (steps, fields.COUNT) int64; arena float32 with the constants in it.

    outputs: label -> place in the arena. shapes: label -> shape of every output. direct: label -> the step that writes this
    output where its row says, outside the arena; nothing reads it there, and it has no place.
    """

    rows: np.ndarray
    arena: np.ndarray
    steps: list[Step]
    outputs: dict[str, Place]
    shapes: dict[str, Shape]
    direct: dict[str, int]
    constant_bytes: int
    working_bytes: int


@dataclass
class Panels:
    """Columns of a matrix (K, N) as panels of vectors, as kernels/cpu/fused/pointwise.py reads them."""

    data: np.ndarray
    full: int
    full_vectors: int
    rest_vectors: int
    rest_start: int
    rest_step: int
    width: int  # columns of all panels, those counted twice included

    def numbers(self) -> dict[int, int]:
        return {
            f.FULL: self.full,
            f.FULL_VECTORS: self.full_vectors,
            f.REST_VECTORS: self.rest_vectors,
            f.REST_START: self.rest_start,
            f.REST_STEP: self.rest_step,
        }


def pack(matrix: np.ndarray) -> Panels:
    """Cut a (K, N) matrix into panels of up to three vectors. Raises ValueError for fewer than LANES columns."""
    _, columns = matrix.shape
    if columns < LANES:
        raise ValueError(f"compile: a layer with {columns} output channels is narrower than a vector of {LANES}")
    vectors = -(-columns // LANES)
    full_vectors = 2 if vectors == 4 else 3
    full = (vectors - 1) // full_vectors if columns % LANES or vectors % full_vectors else vectors // full_vectors
    rest = vectors - full * full_vectors
    if full or rest <= 1:
        rest_start, rest_step = columns - rest * LANES, LANES
    elif (columns - LANES) % (rest - 1) == 0:
        rest_start, rest_step = 0, (columns - LANES) // (rest - 1)
    else:  # three vectors that cannot be spread evenly: two, and a third that overlaps
        full, full_vectors, rest, rest_start, rest_step = rest - 1, 1, 1, columns - LANES, LANES
    starts = [[p * full_vectors * LANES + v * LANES for v in range(full_vectors)] for p in range(full)]
    starts += [[rest_start + v * rest_step for v in range(rest)]] if rest else []
    panels = [np.concatenate([matrix[:, j : j + LANES] for j in panel], axis=1) for panel in starts]
    width = sum(len(panel) for panel in starts) * LANES
    return Panels(np.concatenate([p.ravel() for p in panels]), full, full_vectors, rest, rest_start, rest_step, width)


@dataclass
class Assembler:
    """Collects constants and steps, then lays out the arena."""

    shapes: Mapping[str, Shape]
    places: Mapping[str, Place]
    threads: int
    constants: list[np.ndarray] = field(default_factory=list)
    constant_size: int = 0
    steps: list[Step] = field(default_factory=list)
    scratch: list[Buffer] = field(default_factory=list)
    pending: list[tuple[Step, int, Buffer, int]] = field(default_factory=list)  # offsets known only after allocation
    frames: dict[tuple[str, int], Place] = field(default_factory=dict)
    sums: dict[str, Buffer] = field(default_factory=dict)  # depthwise output -> row sums
    gates: dict[str, tuple[Step, Layer]] = field(default_factory=dict)

    def constant(self, array: np.ndarray | float) -> int:
        """Offset of a constant in the arena."""
        flat = np.ravel(array).astype(np.float32)
        offset = self.constant_size
        room = -(-(flat.size + LANES) // ALIGNMENT) * ALIGNMENT
        self.constants.append(np.pad(flat, (0, room - flat.size)))
        self.constant_size += room
        return offset

    def step(self, kind: int, layer: Layer, label: str, tasks: int, numbers: dict[int, int]) -> Step:
        step = Step(layer, label, {f.KIND: kind, f.TASKS: tasks, f.A: -1, f.SUMS: -1, **numbers})
        self.steps.append(step)
        return step

    def tensor(self, step: Step, at: tuple[int, int, int], place: Place) -> None:
        """Write a tensor's offset, image and pixel distance into a step, and keep its buffer alive there."""
        step.numbers[at[1]], step.numbers[at[2]] = place.image, place.pixel
        self.reserve(step, at[0], place.buffer, place.start)

    def reserve(self, step: Step, at: int, buffer: Buffer, start: int = 0) -> None:
        buffer.use(self.steps.index(step))
        self.pending.append((step, at, buffer, start))

    def scratch_buffer(self, size: int) -> Buffer:
        self.scratch.append(Buffer(size))
        return self.scratch[-1]

    # ---- one method a kind of layer ----------------------------------------------------------------------------------

    def add_layer(self, layer: Layer) -> None:
        match layer.op:
            case "conv2d" if layer.pointwise:
                self.pointwise(layer)
            case "conv2d" if layer.inputs[0] == INPUT or layer.inputs[0] in self.halved:
                self.stem(layer)
            case "depthwise_conv2d":
                self.depthwise(layer)
            case "gate":
                self.gate(layer)
            case "conv_transpose2d":
                self.upscale(layer)
            case "add":
                self.elementwise(f.ADD, layer, self.places[layer.inputs[0]], self.places[layer.output], layer.inputs[1])
            case "concat":
                for source, target in members(layer, self.places, self.shapes):
                    self.elementwise(f.COPY, layer, source, target)
            case "avg_pool":
                self.halved.add(layer.output)
            case _:
                raise ValueError(f"compile: {layer.nodes[0]} ({layer.op}) is not among what plans know: run the model itself")

    halved: set[str] = field(default_factory=set)

    def activation(self, layer: Layer) -> dict[int, int]:
        return {f.ACTIVATION: _KINDS[layer.activation], f.BETA: self.constant(layer.factor)}

    def frame(self, layer: Layer) -> Place:
        """The picture, or its half, inside zeros as wide as a stem's window needs; read once for all that share it."""
        assert layer.weights is not None
        source, size = layer.inputs[0], layer.weights.shape[0]
        if (source, size) not in self.frames:
            N, H, W, C = self.shapes[source]
            (top, bottom), (left, right) = (same_padding(n, size, layer.stride) for n in (H, W))
            shape = (N, H + top + bottom, W + left + right, C)
            place = Place(self.scratch_buffer(N * shape[1] * shape[2] * C + _SLACK), shape, C)
            _, picture_height, picture_width, _ = self.shapes[INPUT]
            numbers = {
                f.H: picture_height, f.W: picture_width, f.C: C, f.OH: shape[1], f.OW: shape[2],
                f.TOP: top, f.LEFT: left, f.SIZE: W,
            }  # fmt: skip
            kind = f.HALVE if source in self.halved else f.READ
            step = self.step(kind, Layer("read", [INPUT], source), f"{source} (read)", N * shape[1], numbers)
            self.tensor(step, (f.Y, f.Y_IMAGE, f.Y_PIXEL), place)
            self.frames[source, size] = place
        return self.frames[source, size]

    def stem(self, layer: Layer) -> None:
        assert layer.weights is not None and layer.bias is not None
        frame, out = self.frame(layer), self.places[layer.output]
        size, _, C, columns = layer.weights.shape
        panels = pack(layer.weights.reshape(size * size * C, columns))
        N, OH, OW, _ = out.shape
        step = self.step(
            f.STEM, layer, layer.output, N * OH,
            {
                f.C: C, f.W: frame.shape[2], f.OH: OH, f.OW: OW, f.SIZE: size, f.STRIDE: layer.stride,
                f.WEIGHTS: self.constant(panels.data), f.BIAS: self.constant(layer.bias),
                **panels.numbers(), **self.activation(layer),
            },
        )  # fmt: skip
        self.tensor(step, (f.X, f.X_IMAGE, f.X_PIXEL), frame)
        self.tensor(step, (f.Y, f.Y_IMAGE, f.Y_PIXEL), out)

    def pointwise(self, layer: Layer) -> None:
        assert layer.weights is not None and layer.bias is not None
        x, out = self.places[layer.inputs[0]], self.places[layer.output]
        panels = pack(layer.weights[0, 0])
        N, H, W, C = x.shape
        # Small enough that threads finish together, large enough that the weights are read from cache many times.
        chunk = min(128, max(ROWS, -(-H * W // 16 // ROWS) * ROWS))
        numbers = {
            f.H: H, f.W: W, f.C: C, f.CHUNK: chunk, f.BIAS: self.constant(layer.bias), f.AHEAD: ahead(x),
            **panels.numbers(), **self.activation(layer),
        }  # fmt: skip
        weights = self.constant(panels.data)
        step = self.step(f.POINTWISE, layer, layer.output, N * -(-H * W // chunk), numbers)
        self.tensor(step, (f.X, f.X_IMAGE, f.X_PIXEL), x)
        self.tensor(step, (f.Y, f.Y_IMAGE, f.Y_PIXEL), out)
        if layer.residual is not None:
            self.tensor(step, (f.A, f.A_IMAGE, f.A_PIXEL), self.places[layer.residual])
        if layer.gated is None:
            numbers[f.WEIGHTS] = step.numbers[f.WEIGHTS] = weights
        else:
            self.scale_weights(self.gates[layer.gated][0], step, weights, panels, N)

    def scale_weights(self, gate: Step, project: Step, weights: int, panels: Panels, batch: int) -> None:
        """Let the gate write a scaled copy of the projection's weights for each image, and the projection read it."""
        room = -(-(panels.data.size + LANES) // ALIGNMENT) * ALIGNMENT
        scaled = self.scratch_buffer(batch * room)
        gate.numbers.update(panels.numbers())
        gate.numbers.update({f.PROJECT: weights, f.WEIGHTS_IMAGE: room})
        project.numbers[f.WEIGHTS_IMAGE] = room
        self.reserve(gate, f.WEIGHTS, scaled)
        self.reserve(project, f.WEIGHTS, scaled)

    def depthwise(self, layer: Layer) -> None:
        assert layer.weights is not None and layer.bias is not None
        x, out, band = self.places[layer.inputs[0]], self.places[layer.output], layer.band
        N, H, W, _ = x.shape
        _, OH, OW, C = out.shape
        size = layer.weights.shape[0]
        if layer.weights.shape[1] != size or size not in (3, 5) or layer.stride not in (1, 2) or C < LANES:
            raise ValueError(
                f"compile: {layer.output} is a depthwise {size}x{layer.weights.shape[1]}, stride {layer.stride}, of {C} "
                f"channels; plans know 3x3 and 5x5, stride 1 and 2, of {LANES} channels or more"
            )
        strips = (STRIP_STRIDE2,) if layer.stride == 2 else STRIPS if size == 5 else (STRIP,)
        strip = min(strips, key=lambda strip: -(-OW // strip) * strip)
        step = self.step(
            f.DEPTHWISE, layer, layer.output, N * OH,
            {
                f.H: H, f.W: W, f.C: C, f.OH: OH, f.OW: OW, f.SIZE: size, f.STRIDE: layer.stride, f.CHUNK: strip,
                f.TOP: same_padding(H, size, layer.stride)[0], f.LEFT: same_padding(W, size, layer.stride)[0],
                f.WEIGHTS: self.constant(layer.weights), f.BIAS: self.constant(layer.bias), **self.activation(layer),
            },
        )  # fmt: skip
        if band is None:
            self.tensor(step, (f.X, f.X_IMAGE, f.X_PIXEL), x)
        else:
            assert band.expand.weights is not None and band.expand.bias is not None
            panels = pack(band.expand.weights[0, 0])
            pixel = band.group or C
            step.numbers |= {
                f.KIND: f.BAND, f.TASKS: N * -(-OH // band.rows) * -(-C // pixel), f.ROWS: band.rows, f.RING: band.ring,
                f.GROUP: band.group // PANEL, f.X_PIXEL: pixel,
                f.HIDDEN: x.shape[3], f.EXPAND: self.constant(panels.data), f.EXPAND_BIAS: self.constant(band.expand.bias),
                f.AHEAD: ahead(x), **panels.numbers(),
            }  # fmt: skip
            rows = self.threads * (band.ring + RING_SPACE) - RING_SPACE
            self.reserve(step, f.X, self.scratch_buffer(rows * W * pixel + _SLACK))
            self.tensor(step, (f.A, f.A_IMAGE, f.A_PIXEL), x)
        self.tensor(step, (f.Y, f.Y_IMAGE, f.Y_PIXEL), out)
        if layer.output in self.summed:
            step.numbers[f.SUMS_IMAGE] = OH * C
            self.sums[layer.output] = self.scratch_buffer(N * OH * C)
            self.reserve(step, f.SUMS, self.sums[layer.output])

    summed: set[str] = field(default_factory=set)  # depthwise outputs that a gate follows

    def gate(self, layer: Layer) -> None:
        gate = layer.gate
        assert isinstance(gate, Gate)
        N, H, W, C = self.places[layer.inputs[0]].shape
        hidden = gate.reduce.shape[0]
        step = self.step(
            f.GATE, layer, layer.output, N,
            {
                f.H: H, f.W: W, f.C: C, f.HIDDEN: hidden, f.SUMS_IMAGE: H * C, f.SUMS_ROWS: H,
                f.REDUCE: self.constant(gate.reduce), f.REDUCE_BIAS: self.constant(gate.reduce_bias),
                f.EXPAND: self.constant(gate.expand), f.EXPAND_BIAS: self.constant(gate.expand_bias),
                f.ACTIVATION: _KINDS[gate.activation], f.BETA: self.constant(layer.factor),
            },
        )  # fmt: skip
        self.reserve(step, f.SUMS, self.sums[layer.inputs[0]])
        self.reserve(step, f.SCRATCH, self.scratch_buffer(N * (C + hidden + LANES)))
        self.gates[layer.output] = step, layer

    def upscale(self, layer: Layer) -> None:
        w = layer.weights
        assert w is not None and layer.bias is not None
        x, out = self.places[layer.inputs[0]], self.places[layer.output]
        N, H, W, C = x.shape
        if w.shape != (4, 4, C, C) or layer.stride != 2 or layer.activation or C < LANES:
            raise ValueError(f"compile: {layer.output} is not a 4x4, stride 2 upscaling of equal channels")
        diagonal = np.diagonal(w, axis1=2, axis2=3)
        sparse = np.array_equal(w, diagonal[..., None] * np.eye(C))
        weights = diagonal if sparse else w.transpose(0, 1, 3, 2)
        step = self.step(
            f.UPSCALE if sparse else f.UPSCALE_DENSE, layer, layer.output, N * 2 * H,
            {
                f.H: H, f.W: W, f.C: C, f.OH: 2 * H, f.OW: 2 * W,
                f.WEIGHTS: self.constant(weights), f.BIAS: self.constant(layer.bias),
            },
        )  # fmt: skip
        self.tensor(step, (f.X, f.X_IMAGE, f.X_PIXEL), x)
        self.tensor(step, (f.Y, f.Y_IMAGE, f.Y_PIXEL), out)

    def elementwise(self, kind: int, layer: Layer, x: Place, out: Place, second: str | None = None) -> None:
        N, H, W, C = x.shape
        chunk = max(ROWS, -(-H * W // 8))
        label = f"{layer.output} (copy)" if kind == f.COPY else layer.output
        step = self.step(kind, layer, label, N * -(-H * W // chunk), {f.H: H, f.W: W, f.C: C, f.CHUNK: chunk})
        self.tensor(step, (f.X, f.X_IMAGE, f.X_PIXEL), x)
        self.tensor(step, (f.Y, f.Y_IMAGE, f.Y_PIXEL), out)
        if second is not None:
            self.tensor(step, (f.A, f.A_IMAGE, f.A_PIXEL), self.places[second])

    def finish(self, outputs: Mapping[str, str]) -> Program:
        """Lay out the arena and write the rows."""
        last = len(self.steps) - 1
        direct = self._direct(outputs)
        kept = {label: self.places[name] for label, name in outputs.items() if label not in direct}
        for place in kept.values():
            place.buffer.use(last)
        outside = {id(self.places[outputs[label]].buffer) for label in direct}
        buffers = {id(buffer): buffer for _, _, buffer, _ in self.pending if id(buffer) not in outside}
        end = allocate(list(buffers.values()), self.constant_size)
        rows = np.zeros((len(self.steps), f.COUNT), np.int64)
        for step, at, buffer, start in self.pending:
            step.numbers[at] = buffer.offset + start
        for row, step in zip(rows, self.steps, strict=True):
            for at, number in step.numbers.items():
                row[at] = number
        arena = aligned(end + _SLACK)
        arena[: self.constant_size] = np.concatenate(self.constants)
        arena[self.constant_size :] = 0
        return Program(
            rows,
            arena,
            self.steps,
            kept,
            {label: self.places[name].shape for label, name in outputs.items()},
            direct,
            4 * self.constant_size,
            4 * (arena.size - self.constant_size),
        )

    def _direct(self, outputs: Mapping[str, str]) -> dict[str, int]:
        """Outputs that one step writes, alone in their buffer, and none reads: they can lie anywhere. The kernels of these
        steps reach them by their distance from the arena, however far that is, and never ask whether it is negative."""
        order = {id(step): s for s, step in enumerate(self.steps)}
        uses: dict[int, list[tuple[int, int]]] = {}
        for step, at, buffer, _ in self.pending:
            uses.setdefault(id(buffer), []).append((order[id(step)], at))
        names = Counter(outputs.values())
        direct = {}
        for label, name in outputs.items():
            place = self.places[name]
            used = uses[id(place.buffer)]
            if len(used) == 1 and used[0][1] == f.Y and place.start == 0 and place.pixel == place.shape[3] and names[name] == 1:
                direct[label] = used[0][0]
        return direct


def _check_readers(layers: Sequence[Layer]) -> None:
    """The picture has no place in the arena but the frames of stems."""
    pictures = {INPUT} | {layer.output for layer in layers if layer.op == "avg_pool"}
    for layer in layers:
        stem = layer.op == "conv2d" and layer.residual not in pictures and not layer.pointwise
        if not pictures.isdisjoint([*layer.inputs, layer.residual]) and not stem and layer.op != "avg_pool":
            raise ValueError(
                f"compile: {layer.nodes[0]} ({layer.op}) reads the picture itself; plans read it in larger or strided dense "
                "convolutions only: run the model itself"
            )


def ahead(x: Place) -> bool:
    """Whether it pays to ask for this input before it is needed."""
    return 4 * math.prod(x.shape) > CACHE_BYTES


def aligned(size: int) -> np.ndarray:
    """Uninitialised float32 that begins on a cache line."""
    room = np.empty(size + ALIGNMENT, np.float32)
    skip = -room.ctypes.data % 64 // 4
    return room[skip : skip + size]


def assemble(layers: Sequence[Layer], shapes: Mapping[str, Shape], outputs: Mapping[str, str], threads: int) -> Program:
    """The program of these layers. Raises ValueError, naming the layer, for what plans do not know."""
    _check_readers(layers)
    layers = fuse_expansions(layers, shapes, outputs.values(), threads)
    placed = [layer for layer in layers if layer.op != "avg_pool"]
    assembler = Assembler(shapes, place_tensors(placed, shapes, outputs.values()), threads)
    assembler.summed = {layer.inputs[0] for layer in layers if layer.op == "gate"}
    for layer in layers:
        assembler.add_layer(layer)
    return assembler.finish(outputs)
