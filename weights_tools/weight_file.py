"""What a reader hands on: every array of one file, and what the file says of the layers they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Layer:
    """container: the sub-model that holds the layer, "" for the model itself. kind: Keras' class as `conv2d`, "" where unknown.

    named: the file says what the layer is called; else it is called by class and counter (`conv2d_12`).
    """

    container: str
    kind: str
    named: bool = True


@dataclass(frozen=True)
class WeightFile:
    """arrays: (layer, array) -> values, all that the file holds, in its order. Depthwise kernels are called "kernel".

    A layer within a sub-model is called by its whole path, `efficientnetb0/stem_conv`. layers: of a Keras file, what is known
    of each. unread: what is in the file beside its layers and no array of numbers that could be read, and why.
    """

    path: str
    layout: str
    sha256: str
    arrays: dict[tuple[str, str], np.ndarray]
    layers: dict[str, Layer] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
