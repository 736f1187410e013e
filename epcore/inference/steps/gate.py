"""Squeeze-and-excitation between a depthwise convolution and a projection, without touching the map again.

The depthwise step left the sums of every row of pixels. From them follow the means, the hidden layer and the gates; and
since the projection is linear, scaling its input channels is scaling the rows of its weights:

    gate[c] = sigmoid(b_e[c] + sum_r activation(b_r[r] + sum_c mean[c] w_r[c, r]) w_e[r, c])
    project'[c, :] = gate[c] * project[c, :]

so the next step runs on scaled weights, a few thousand numbers, instead of a scaled map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from epcore.inference.step import Activation, Step
from epcore.inference.steps.activation import encode_activation, finish
from epcore.inference.steps.record import ACTIVATION, PANELS, Definition, Kind, fields, record, step_kernel, viewer
from epcore.kernels.cpu.panels import place
from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import fma, horizontal_sum, load, sigmoid, splat, store

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

# sums: of every row of pixels; scratch: C means (then gates) and `hidden` + LANES hidden values an image. project: the
# projection's weights as panels of C rows each; scaled: their copies, one an image, scaled_image apart.
RECORD = record(
    *fields(
        integers="""channels hidden height pixels sums sums_image reduce reduce_bias expand expand_bias scratch project scaled
        scaled_image""",
        activation=ACTIVATION,
        panels=PANELS,
    )
)
_view = viewer(RECORD)


@dataclass(frozen=True, eq=False, kw_only=True)
class Gate(Step):
    """inputs: the summed depthwise layer. reduce (hidden, C), expand (hidden, C), their biases, the hidden activation."""

    operator: ClassVar[str] = "gate"
    has_map: ClassVar[bool] = False

    reduce: np.ndarray
    reduce_bias: np.ndarray
    expand: np.ndarray
    expand_bias: np.ndarray
    activation: Activation

    @property
    def maps(self) -> tuple[str, ...]:
        return ()

    @property
    def weight_count(self) -> int:
        return self.reduce.size + self.expand.size


@step_kernel
def _run(arena, row, task, thread, picture):  # type: ignore[no-untyped-def]
    """Task: one image."""
    step = _view(row)
    channels, hidden = step.channels, step.hidden
    mean = step.scratch + task * (channels + hidden + LANES)
    middle = mean + channels
    sums = step.sums + task * step.sums_image
    scale = np.float32(1.0) / np.float32(step.pixels)
    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        total = load(arena, sums + c)
        for y in range(1, step.height):
            total = total + load(arena, sums + y * channels + c)
        store(arena, mean + c, total * scale)
        block += LANES

    for r in range(hidden):  # the reducing weights are stored (hidden, C): one dot product a hidden unit
        weights = step.reduce + r * channels
        product = splat(0.0, 1)
        whole = channels // LANES * LANES
        for c in range(0, whole, LANES):
            product = fma(load(arena, mean + c), load(arena, weights + c), product)
        value = arena[step.reduce_bias + r] + horizontal_sum(product)
        for c in range(whole, channels):
            value += arena[mean + c] * arena[weights + c]
        store(arena, middle + r, finish(splat(value, 1), step.activation.kind, np.float32(step.activation.parameter)))

    block = 0
    while block < channels:
        c = min(block, channels - LANES)
        total = load(arena, step.expand_bias + c)
        for r in range(hidden):
            total = fma(splat(arena[middle + r], 1), load(arena, step.expand + r * channels + c), total)
        store(arena, mean + c, sigmoid(total))
        block += LANES

    source, target = step.project, step.scaled + task * step.scaled_image
    for number in range(step.panels.full + step.panels.rest):
        _, _, vectors = place(step.panels, number)
        width = vectors * LANES
        for c in range(channels):
            factor = splat(arena[mean + c], 1)
            for j in range(c * width, (c + 1) * width, LANES):
                store(arena, target + j, load(arena, source + j) * factor)
        source += channels * width
        target += channels * width


KIND = Kind("gate", RECORD, _run)


def encode(step: Gate, encoder: Encoder) -> None:
    """The projection adds its weights to the row when it is encoded itself (`Encoder.scale_weights`)."""
    N, H, W, C = encoder.shapes[step.inputs[0]]
    hidden = step.reduce.shape[0]
    encoder.gates[step.output] = encoder.row(
        KIND, step, N, channels=C, hidden=hidden, height=H, pixels=H * W, sums=encoder.sums(step.inputs[0]), sums_image=H * C,
        reduce=encoder.constant(step.reduce), reduce_bias=encoder.constant(step.reduce_bias),
        expand=encoder.constant(step.expand), expand_bias=encoder.constant(step.expand_bias),
        scratch=encoder.scratch(N * (C + hidden + LANES)), activation=encode_activation(step.activation, encoder),
    )  # fmt: skip


DEFINITION = Definition(Gate, encode, (KIND,))
