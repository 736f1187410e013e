"""`epcore.load_weights`: arrays of a weight file into a network, all or nothing."""

from __future__ import annotations

from os import PathLike

import numpy as np

from epcore.network import Network
from epcore.weights_tools.keras_h5 import WeightFile, read_keras_h5
from epcore.weights_tools.manifest import Manifest, Match, digest
from epcore.weights_tools.name_map import keras_name


def load_weights(model: Network, path: str | PathLike[str], *, strict: bool = True) -> Manifest:
    """Copy a Keras weight file into the model; the manifest says what went where.

    Everything is checked first: on an error the model is as it was. strict refuses a file that lacks a parameter of the
    model. Raises OSError where the file cannot be read and ValueError, naming file and array, where it does not fit.
    """
    file = read_keras_h5(path)
    manifest = Manifest(file.path, file.layout, file.sha256)
    found = {parameter: _take(model, file, parameter, manifest) for parameter in model.parameters}
    taken = {parameter: array for parameter, array in found.items() if array is not None}
    used = {keras_name(parameter) for parameter in taken}
    manifest.unused = ["/".join(key) for key in file.arrays if key not in used]
    if not taken or (strict and manifest.missing):
        first = manifest.missing[0]
        raise ValueError(
            f"{file.path} does not hold weights of {model.name}: {len(manifest.missing)} of {len(model.parameters)} arrays "
            f"are missing, the first is {first} ({'/'.join(keras_name(first))})"
        )
    for parameter, array in taken.items():
        model.parameters[parameter] = array.astype(model.dtype)
    return manifest


def _take(model: Network, file: WeightFile, parameter: str, manifest: Manifest) -> np.ndarray | None:
    """The array of one parameter, checked, noted in the manifest."""
    key = keras_name(parameter)
    wanted = model.graph.parameters[parameter].shape
    source = "/".join(key)
    if key not in file.arrays:
        manifest.missing.append(parameter)
        return None
    array = file.arrays[key]
    transformation = ""
    if array.shape == (*wanted, 1):  # Keras: (k, k, C, multiplier 1)
        array, transformation = array[..., 0], "last axis dropped"
    if array.shape != wanted:
        raise ValueError(
            f"{file.path} does not hold weights of {model.name}: {source} has shape {array.shape}, {parameter} has {wanted}"
        )
    if array.dtype.kind != "f":
        raise ValueError(f"{file.path}: {source} has dtype {array.dtype}, expected floating point")
    if not np.isfinite(array).all():
        raise ValueError(f"{file.path}: {source} has {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    manifest.matched.append(Match(source, parameter, wanted, str(array.dtype), transformation, digest(array)))
    return array
