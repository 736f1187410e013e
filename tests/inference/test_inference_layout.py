"""Places of tensors: whatever a layer reads is still what was written, and the networks' concatenations cost nothing."""

from __future__ import annotations

import numpy as np
import pytest

import epcore
from epcore.inference.fold import Layer, fold
from epcore.inference.layout import Buffer, Place, members, place_tensors
from epcore.models.configs import VARIANTS

Memory = dict[tuple[Buffer, int], object]


def random_layers(rng: np.random.Generator) -> tuple[list[Layer], dict[str, tuple[int, ...]], list[str]]:
    """A chain with branches: every layer reads one or two earlier tensors, a third of them concatenate."""
    layers: list[Layer] = []
    shapes: dict[str, tuple[int, ...]] = {}
    names: list[str] = []
    for number in range(int(rng.integers(4, 25))):
        name = f"t{number}"
        inputs = [str(one) for one in rng.choice(names[-6:], size=min(len(names), int(rng.integers(1, 4))), replace=False)]
        if len(inputs) > 1 and rng.random() < 0.5:
            layers.append(Layer("concat", inputs, name))
            shapes[name] = (1, 1, 1, sum(shapes[one][3] for one in inputs))
        else:
            residual = inputs[1] if len(inputs) > 1 else None
            layers.append(Layer("conv2d", inputs[:1] or ["input"], name, residual=residual))
            shapes[name] = (1, 1, 1, int(rng.integers(1, 4)))
        names.append(name)
    return layers, shapes, [str(one) for one in rng.choice(names, size=2)]


def write(memory: Memory, place: Place, values: list[object]) -> None:
    for channel, value in enumerate(values):
        memory[place.buffer, place.start + channel] = value


def read(memory: Memory, place: Place) -> list[object]:
    return [memory[place.buffer, place.start + channel] for channel in range(place.shape[3])]


@pytest.mark.parametrize("seed", range(300))
def test_layers_read_what_was_written(seed: int) -> None:
    layers, shapes, outputs = random_layers(np.random.default_rng(seed))
    places = place_tensors(layers, shapes, outputs)
    memory: Memory = {}
    values: dict[str, list[object]] = {}
    for layer in layers:
        if layer.op == "concat":
            values[layer.output] = [value for name in layer.inputs for value in values[name]]
            assert all(read(memory, places[name]) == values[name] for name in layer.inputs)
            for source, target in members(layer, places, shapes):
                write(memory, target, read(memory, source))
            assert read(memory, places[layer.output]) == values[layer.output]
        else:
            values[layer.output] = [(layer.output, channel) for channel in range(shapes[layer.output][3])]
            write(memory, places[layer.output], values[layer.output])  # first: a layer never overwrites what it reads
        for name in (*layer.inputs, layer.residual):
            if name in values:
                assert read(memory, places[name]) == values[name], (layer.output, name)
    for name in outputs:
        assert read(memory, places[name]) == values[name]


def test_some_of_them_copy_and_some_share() -> None:
    """The test above has both cases."""
    copied, shared = 0, 0
    for seed in range(300):
        layers, shapes, outputs = random_layers(np.random.default_rng(seed))
        places = place_tensors(layers, shapes, outputs)
        concats = [layer for layer in layers if layer.op == "concat"]
        copied += sum(len(members(layer, places, shapes)) for layer in concats)
        shared += sum(places[layer.output].pixel > shapes[layer.output][3] for layer in concats)
    assert copied > 50
    assert shared > 50


@pytest.mark.parametrize("variant", VARIANTS)
def test_concatenations_of_the_networks_are_not_copied(variant: str) -> None:
    model = epcore.EfficientPose(variant)
    layers, shapes = fold(model.graph, model.parameters), model.graph.shapes(1, model.graph.input_shape)
    places = place_tensors(layers, shapes, model.graph.outputs.values())
    concats = [layer for layer in layers if layer.op == "concat"]
    assert len(concats) > 1
    assert [layer.output for layer in concats if members(layer, places, shapes)] == []
