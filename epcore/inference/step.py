"""What all steps of a plan have in common: a step is a fused layer of the network, with the fields of its kind only.

A file of `epcore.inference.steps` is one kind of step: its type, how it is encoded as a record of the program, and the kernel
that runs it.
Types are of the network alone: what the planner decides (places, bands, strips) stands in the records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


class NoPlanError(ValueError):
    """A network has a part that plans do not know; the message names the layer."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """inputs, output: names of nodes, whose values it takes and gives. nodes: those of the given graph that it stands for."""

    operator: ClassVar[str]  # what a profile calls it
    has_map: ClassVar[bool] = True  # False: what it gives is no tensor of the arena
    concatenates: ClassVar[bool] = False  # its output is its inputs side by side

    inputs: tuple[str, ...]
    output: str
    nodes: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all values it takes."""
        return self.inputs

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that it reads and writes."""
        return (*self.inputs, self.output)

    @property
    def weight_count(self) -> int:
        """Numbers it reads beside them."""
        return 0


@dataclass(frozen=True, eq=False)
class Activation:
    """How a step ends. kind: "", "swish", "eswish", "relu" or "prelu"; parameter: the factor of E-swish, the cap of ReLU; alpha
    (C,): the slopes of PReLU."""

    kind: str = ""
    parameter: float = 1.0
    alpha: np.ndarray | None = None

    def same_as(self, other: Activation) -> bool:
        """Whether both are the same function of one number (which PReLU is not)."""
        by_factor = self.alpha is None and other.alpha is None
        return by_factor and (self.kind, self.parameter) == (other.kind, other.parameter)


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Step):
    """weights (float64, batch norms folded in), bias (C,), stride, activation."""

    weights: np.ndarray
    bias: np.ndarray
    stride: int = 1
    activation: Activation = Activation()

    @property
    def weight_count(self) -> int:
        return self.weights.size
