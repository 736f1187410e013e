"""Places of tensors: whatever a step reads is still what was written, and the networks' concatenations cost nothing."""

from __future__ import annotations

import numpy as np
import pytest

import epcore
from epcore.inference.fuse import fuse
from epcore.inference.layout import Buffer, Place, members, place_tensors
from epcore.inference.step import Step
from epcore.inference.steps.elementwise import Add, Concat
from epcore.models.configs import VARIANTS

Memory = dict[tuple[Buffer, int], object]


def random_layers(rng: np.random.Generator) -> tuple[list[Step], dict[str, tuple[int, ...]], list[str]]:
    """A chain with branches: every step reads one or two earlier tensors, a third of them concatenate."""
    steps: list[Step] = []
    shapes: dict[str, tuple[int, ...]] = {}
    names: list[str] = []
    for number in range(int(rng.integers(4, 25))):
        name = f"t{number}"
        inputs = [str(one) for one in rng.choice(names[-6:], size=min(len(names), int(rng.integers(1, 4))), replace=False)]
        if len(inputs) > 1 and rng.random() < 0.5:
            steps.append(Concat(inputs=tuple(inputs), output=name))
            shapes[name] = (1, 1, 1, sum(shapes[one][3] for one in inputs))
        else:
            steps.append(Add(inputs=tuple(inputs[:2] or ["input"]), output=name))
            shapes[name] = (1, 1, 1, int(rng.integers(1, 4)))
        names.append(name)
    return steps, shapes, [str(one) for one in rng.choice(names, size=2)]


def write(memory: Memory, place: Place, values: list[object]) -> None:
    for channel, value in enumerate(values):
        memory[place.buffer, place.start + channel] = value


def read(memory: Memory, place: Place) -> list[object]:
    return [memory[place.buffer, place.start + channel] for channel in range(place.shape[3])]


@pytest.mark.parametrize("seed", range(300))
def test_layers_read_what_was_written(seed: int) -> None:
    steps, shapes, outputs = random_layers(np.random.default_rng(seed))
    places = place_tensors(steps, shapes, outputs)
    memory: Memory = {}
    values: dict[str, list[object]] = {}
    for step in steps:
        if step.concatenates:
            values[step.output] = [value for name in step.inputs for value in values[name]]
            assert all(read(memory, places[name]) == values[name] for name in step.inputs)
            for source, target in members(step, places, shapes):
                write(memory, target, read(memory, source))
            assert read(memory, places[step.output]) == values[step.output]
        else:
            values[step.output] = [(step.output, channel) for channel in range(shapes[step.output][3])]
            write(memory, places[step.output], values[step.output])  # first: a step never overwrites what it reads
        for name in step.reads:
            if name in values:
                assert read(memory, places[name]) == values[name], (step.output, name)
    for name in outputs:
        assert read(memory, places[name]) == values[name]


def test_some_of_them_copy_and_some_share() -> None:
    """The test above has both cases."""
    copied, shared = 0, 0
    for seed in range(300):
        steps, shapes, outputs = random_layers(np.random.default_rng(seed))
        places = place_tensors(steps, shapes, outputs)
        concats = [step for step in steps if step.concatenates]
        copied += sum(len(members(step, places, shapes)) for step in concats)
        shared += sum(places[step.output].pixel > shapes[step.output][3] for step in concats)
    assert copied > 50
    assert shared > 50


@pytest.mark.parametrize("variant", VARIANTS)
def test_concatenations_of_the_networks_are_not_copied(variant: str) -> None:
    model = epcore.EfficientPose(variant)
    steps, shapes = fuse(model.graph, model.parameters), model.graph.shapes(1, model.graph.input_shape)
    places = place_tensors(steps, shapes, model.graph.outputs.values())
    concats = [step for step in steps if step.concatenates]
    assert len(concats) > 1
    assert [step.output for step in concats if members(step, places, shapes)] == []
