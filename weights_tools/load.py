"""`epcore.load_weights`: arrays of a weight file into a network, all or nothing.

A file of a whole network fills all of it. A file of a backbone alone (ImageNet weights) fills an EfficientNet, or the
high-resolution branch of an EfficientPose, and a second one its low-resolution branch; the rest of the pose network keeps
its values. Later blocks, classifiers and preprocessing layers in the file are left over and named in the manifest.
"""

from __future__ import annotations

from os import PathLike, fspath

import numpy as np

from epcore.models import EfficientPoseLite
from epcore.network import Network
from epcore.weights_tools.formats import is_epcore_file, read_epcore
from epcore.weights_tools.keras_h5 import WeightFile, read_keras_h5, resolve_by_order
from epcore.weights_tools.manifest import Manifest, Match, Source, digest
from epcore.weights_tools.name_map import Names, backbone_name, keras_layers, names_for


def load_weights(
    model: Network, path: str | PathLike[str], *, low: str | PathLike[str] | None = None, strict: bool = True
) -> Manifest:
    """Copy a weight file into the model; the manifest says what went where.

    path: a Keras .h5 of any layout, or a file epcore exported (.h5, .npz, .safetensors). low: for an EfficientPose, a
    backbone's file for the low-resolution branch, where `path` is one for the high-resolution branch. strict refuses a file
    that lacks a parameter it should fill.

    Everything is checked first: on an error the model is as it was. Raises OSError where a file cannot be read and
    ValueError, naming file and array, where it does not fit.
    """
    if low is not None and not any(name.startswith("low.") for name in model.parameters):
        raise ValueError(f"low is {fspath(low)}, but {model.name} has no low-resolution branch")
    file = read_weights(path)
    manifest = Manifest(file.path, file.layout, file.sha256)
    taken, missing = _match(model, file, "high.", low is not None, manifest)
    if low is not None:
        file = read_weights(low)
        manifest.low = Source(file.path, file.layout, file.sha256)
        more, also_missing = _match(model, file, "low.", True, manifest)
        taken, missing = taken | more, missing + also_missing
    if not taken or (strict and missing):
        at_fault, first, name = missing[0]
        lite = any(layer.startswith("efficientnet-lite") for layer, _ in file.arrays)
        hint = ". It holds a Lite network" if lite and not isinstance(model, EfficientPoseLite) else ""
        raise ValueError(
            f"{at_fault} does not hold weights of {model.name}: {len(missing)} arrays are missing, the first is {first} "
            f"(there it would be {name}){hint}"
        )
    manifest.kept = [name for name in model.parameters if name not in taken and name not in manifest.missing]
    for parameter, array in taken.items():
        model.parameters[parameter] = np.ascontiguousarray(array, model.dtype)
    return manifest


def read_weights(path: str | PathLike[str]) -> WeightFile:
    """A weight file of any format. Raises OSError or ValueError, naming the file."""
    return read_epcore(path) if is_epcore_file(path) else read_keras_h5(path)


def _match(
    model: Network, file: WeightFile, prefix: str, two_files: bool, manifest: Manifest
) -> tuple[dict[str, np.ndarray], list[tuple[str, str, str]]]:
    """The arrays of one file by parameter, checked and noted; (file, parameter, name in the file) of what it lacks."""
    whole_pose = any(name.startswith("high.") for name in model.parameters)
    alone = whole_pose and (two_files or bool(file.unnamed) or any(layer == "stem_conv" for layer, _ in file.arrays))
    wanted = [name for name in model.parameters if name.startswith(prefix)] if alone else list(model.parameters)
    names: Names = backbone_name if alone else names_for(model)
    arrays = file.arrays
    if file.unnamed:
        layers = list(keras_layers(model.graph, prefix if alone else ""))
        arrays = resolve_by_order(file, [(kind, names(f"{layer}/")[0]) for kind, layer in layers])
    elif file.layout.startswith("epcore"):
        names = _own_backbone_name if alone else _own_name
    sought = {parameter: names(parameter) for parameter in wanted}
    taken = {
        parameter: _take(model, file.path, arrays[key], parameter, "/".join(key), manifest)
        for parameter, key in sought.items()
        if key in arrays
    }
    missing = [(file.path, parameter, "/".join(key)) for parameter, key in sought.items() if key not in arrays]
    manifest.missing += [parameter for _, parameter, _ in missing]
    used = set(sought.values())
    where = f" in {file.path}" if prefix == "low." else ""
    manifest.unused += ["/".join(key) + where for key in arrays if key not in used]
    return taken, missing


def _own_name(parameter: str) -> tuple[str, str]:
    node, _, array = parameter.partition("/")
    return node, array


def _own_backbone_name(parameter: str) -> tuple[str, str]:
    return _own_name(parameter.partition(".")[2])


def _take(model: Network, path: str, array: np.ndarray, parameter: str, source: str, manifest: Manifest) -> np.ndarray:
    """The array of one parameter, checked, noted in the manifest."""
    wanted = model.graph.parameters[parameter].shape
    transformation = ""
    if array.shape == (*wanted, 1):  # Keras: (k, k, C, multiplier 1)
        array, transformation = array[..., 0], "last axis dropped"
    if array.shape != wanted:
        raise ValueError(f"{path} does not hold weights of {model.name}: {source} has shape {array.shape}, expected {wanted}")
    if array.dtype.kind != "f":
        raise ValueError(f"{path}: {source} has dtype {array.dtype}, expected floating point")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {source} has {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    if np.abs(array).max(initial=0) > np.finfo(model.dtype).max:
        raise ValueError(f"{path}: {source} holds values that {model.dtype} cannot")
    if array.dtype != model.dtype:
        transformation = ", ".join(filter(None, [transformation, f"{array.dtype} to {model.dtype}"]))
    manifest.matched.append(Match(path, source, parameter, wanted, str(array.dtype), transformation, digest(array)))
    return array
