"""Reads the arrays of Keras .h5 files, without Keras.

The layout of Keras 2 (full models: under the group model_weights; weights only: at the root): the attribute `layer_names`
lists the layers in order, each layer's group lists its arrays in `weight_names`, and an array's path below its group need
not repeat the layer's name, so the attributes are followed and paths never guessed.

Nothing in a file is executed. What a file declares is checked before it is read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod
from os import PathLike, fspath
from pathlib import Path

import h5py
import numpy as np

MAXIMUM_BYTES = 2 << 30  # of all arrays; EfficientNet-B7 with its classifier has a quarter of a GiB


@dataclass(frozen=True)
class WeightFile:
    """arrays: (layer, array) -> values, in the file's order; depthwise kernels are called "kernel"."""

    path: str
    layout: str
    sha256: str
    arrays: dict[tuple[str, str], np.ndarray]


def read_keras_h5(path: str | PathLike[str]) -> WeightFile:
    """Every array of a Keras weight file.

    Raises OSError where the file cannot be read, ValueError where it is no HDF5 file, not of a known layout, damaged, or
    declares more than it can hold.
    """
    name = fspath(path)
    content = Path(path).read_bytes()
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        kind = "a Python pickle, which could run code" if content[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04") else ""
        raise ValueError(f"{name} is not an HDF5 file{': it looks like ' + kind if kind else ''}")
    try:
        with h5py.File(name, "r") as file:
            root = file.get("model_weights", file)
            layout = "Keras full model" if "model_weights" in file else "Keras weights"
            if not isinstance(root, h5py.Group) or "layer_names" not in root.attrs:
                raise ValueError(f"{name} holds no Keras layers: no attribute layer_names")
            arrays = _arrays(name, root)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{name} is damaged: {error}") from None
    return WeightFile(name, layout, hashlib.sha256(content).hexdigest(), arrays)


def _arrays(name: str, root: h5py.Group) -> dict[tuple[str, str], np.ndarray]:
    arrays: dict[tuple[str, str], np.ndarray] = {}
    room = MAXIMUM_BYTES
    for layer in _strings(root.attrs["layer_names"]):
        group = root[layer]
        for path in _strings(group.attrs["weight_names"]):
            dataset = group[path]
            if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
                raise ValueError(f"{name}: {layer}/{path} is not an array of numbers")
            room -= prod(dataset.shape) * dataset.dtype.itemsize
            if room < 0:
                raise ValueError(f"{name}: {layer}/{path} declares shape {dataset.shape}, more than a weight file can hold")
            role = path.rpartition("/")[2].partition(":")[0].removeprefix("depthwise_")
            arrays[layer, role] = dataset[()]
    return arrays


def _strings(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
