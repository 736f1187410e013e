"""Weights in Keras 2's layout (`save_weights`), which `model.load_weights` of Keras 2 and 3 reads back.

Layers carry the names Keras users know (`name_map`), depthwise kernels get their last axis back, and the attributes
`layer_names` and `weight_names` list everything in order.
"""

from __future__ import annotations

import io
from os import PathLike, fspath

import h5py
import numpy as np

from epcore.base.staging import write_atomically
from epcore.network import Network
from epcore.weights_tools.name_map import keras_layers, names_for


def export_keras(model: Network, path: str | PathLike[str]) -> None:
    """Raises ValueError for a suffix under which Keras would look for another layout, OSError where the file cannot be written;
    it appears whole or not at all."""
    write_atomically(path, encode_keras(model, path))


def encode_keras(model: Network, path: str | PathLike[str]) -> bytes:
    """The file that `export_keras` writes. Raises ValueError as it does."""
    if not (name := fspath(path)).endswith((".h5", ".hdf5")) or name.endswith(".weights.h5"):
        raise ValueError(f"cannot write Keras 2 weights to {name}: Keras reads them from .h5, but not from .weights.h5")
    names = names_for(model)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for _, layer in keras_layers(model.graph):
        for parameter, array in model.parameters.items():
            if parameter.partition("/")[0] != layer:
                continue
            name, role = names(parameter)
            if role == "kernel" and array.ndim == 3:
                role, array = "depthwise_kernel", array[..., None]
            arrays.setdefault(name, {})[f"{name}/{role}:0"] = array
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in arrays])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.2.4"
        for name, weights in arrays.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([path.encode() for path in weights])
            for weight, array in weights.items():
                group.create_dataset(weight, data=np.asarray(array, np.float32), track_times=False)
    return buffer.getvalue()
