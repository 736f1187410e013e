"""Every operator call of the five networks, each shape once: what the kernel benchmarks measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.backend import kernel, use_backend
from epcore.graph import Node
from epcore.models import EfficientPose
from epcore.op import Cost
from epcore.ops import OPS

VARIANTS = ("RT", "I", "II", "III", "IV")


@dataclass(frozen=True)
class Case:
    """One operator with the shapes of its arguments: `inputs` maps first, then parameters (None: left out)."""

    node: Node
    shapes: tuple[tuple[int, ...] | None, ...]
    variant: str

    @property
    def label(self) -> str:
        sizes = "x".join(map(str, self.shapes[0] or ()))
        weights = [shape for shape in self.shapes[len(self.node.inputs) :] if shape is not None and len(shape) > 2]
        kernel_size = f" {weights[0][0]}x{weights[0][1]}" if weights and weights[0][0] > 1 else ""
        stride = f" /{self.node.attributes['stride']}" if self.node.attributes.get("stride", 1) > 1 else ""
        return f"{self.variant} {sizes}{kernel_size}{stride}{self._width(weights)}"

    def _width(self, weights: list[tuple[int, ...]]) -> str:
        return f" to {weights[0][-1]}" if self.node.op == "conv2d" else ""

    @property
    def attributes(self) -> dict[str, Any]:
        """As the network calls it in training."""
        return dict(self.node.attributes) | ({"training": True} if OPS[self.node.op].batch_statistics else {})

    @property
    def cost(self) -> Cost:
        return OPS[self.node.op].cost(*self.shapes, **self.node.attributes)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return OPS[self.node.op].output_shape(*self.shapes, **self.node.attributes)

    def arguments(self, seed: int) -> list[np.ndarray | None]:
        """Normal numbers; weights scaled so that outputs are of order 1, variances positive, masks of 0 and 1."""
        rng = np.random.default_rng(seed)
        arrays: list[np.ndarray | None] = []
        for i, shape in enumerate(self.shapes):
            array = None if shape is None else rng.standard_normal(shape, np.float32)
            if array is not None and shape is not None and i >= len(self.node.inputs):
                if OPS[self.node.op].identity_at_inference:
                    array = (array > 0).astype(np.float32)
                elif OPS[self.node.op].batch_statistics:
                    array = np.abs(array) + np.float32(0.5)
                elif len(shape) > 1:
                    fan_in = shape[0] * shape[1] * (shape[2] if len(shape) == 4 else 1)
                    array /= np.float32(np.sqrt(fan_in))
            arrays.append(array)
        return arrays

    def gradient(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed + 1).standard_normal(self.output_shape, np.float32)

    def functions(self, backend: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """(forward(arguments) -> (y, saved), backward(dy, saved) -> gradients) of a backend, attributes filled in."""
        with use_backend(backend):
            forward, backward = kernel(self.node.op, np.zeros(1, np.float32))
        attributes = self.attributes
        return lambda arguments: forward(*arguments, **attributes), lambda dy, saved: backward(dy, saved, **attributes)


def cases(variants: tuple[str, ...] = VARIANTS, resolution: int | None = None) -> list[Case]:
    """Each (operator, shapes, attributes) once, under the first network that has it. `resolution`: instead of their own."""
    found: dict[Any, Case] = {}
    for variant in variants:
        graph = EfficientPose(variant).graph
        shapes = graph.shapes(1, None if resolution is None else (resolution, resolution, 3))
        for node in graph.nodes.values():
            case = Case(node, tuple(graph.argument_shapes(node, shapes)), variant)
            attributes = {name: value for name, value in node.attributes.items() if name != "rate"}
            found.setdefault((node.op, case.shapes, tuple(sorted(attributes.items()))), case)
    return sorted(found.values(), key=lambda case: case.node.op)
