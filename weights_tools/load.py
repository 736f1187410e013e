"""`epcore.load_weights`: arrays of a weight file into a network, all or nothing.

A file of a whole network fills all of it. A file of a backbone alone (ImageNet weights) fills an EfficientNet, or the
high-resolution branch of an EfficientPose, and a second one its low-resolution branch; the rest of the pose network keeps
its values. The network may be part of a larger one (`find`); what else the file holds is left over and named in the manifest.
"""

from __future__ import annotations

from os import PathLike, fspath

import numpy as np

from epcore.models import EfficientPoseLite
from epcore.network import Network
from epcore.weights_tools.find import Found, Key, find
from epcore.weights_tools.manifest import Manifest, Match, Source, digest
from epcore.weights_tools.name_map import Names, backbone_name, keras_layers, names_for
from epcore.weights_tools.read import read_weights
from epcore.weights_tools.weight_file import WeightFile


def load_weights(
    model: Network,
    path: str | PathLike[str],
    *,
    low: str | PathLike[str] | None = None,
    strict: bool = True,
    trusted: bool = False,
) -> Manifest:
    """Copy a weight file into the model; the manifest says what went where.

    path: a Keras .h5 of any layout, or a file epcore exported (.h5, .npz, .safetensors). low: for an EfficientPose, a
    backbone's file for the low-resolution branch, where `path` is one for the high-resolution branch. strict refuses a file
    that lacks a parameter it should fill. trusted: the files are opened in this process, not in one of their own.

    Everything is checked first: on an error the model is as it was. Raises OSError where a file cannot be read and
    ValueError, naming file and array, where it does not fit.
    """
    if low is not None and not any(name.startswith("low.") for name in model.parameters):
        raise ValueError(f"low is {fspath(low)}, but {model.name} has no low-resolution branch")
    file = read_weights(path, trusted=trusted)
    manifest = Manifest(file.path, file.layout, file.sha256)
    taken, missing = _match(model, file, "high.", low is not None, manifest)
    if low is not None:
        file = read_weights(low, trusted=trusted)
        manifest.low = Source(file.path, file.layout, file.sha256)
        more, also_missing = _match(model, file, "low.", True, manifest)
        taken, missing = taken | more, missing + also_missing
    if not taken or (strict and missing):
        at_fault, first, name = missing[0]
        lite = any("efficientnet-lite" in layer for layer, _ in file.arrays)
        hint = ". It holds a Lite network" if lite and not isinstance(model, EfficientPoseLite) else ""
        hint += f". Not read: {file.unread[0]}" if file.unread else ""
        raise ValueError(
            f"{at_fault} does not hold weights of {model.name}: {len(missing)} arrays are missing, the first is {first} "
            f"(there it would be {name}){hint}"
        )
    manifest.kept = [name for name in model.parameters if name not in taken and name not in manifest.missing]
    for parameter, array in taken.items():
        model.parameters[parameter] = np.ascontiguousarray(array, model.dtype)
    return manifest


def _match(
    model: Network, file: WeightFile, prefix: str, two_files: bool, manifest: Manifest
) -> tuple[dict[str, np.ndarray], list[tuple[str, str, str]]]:
    """The arrays of one file by parameter, checked and noted; (file, parameter, name in the file) of what it lacks."""
    sought, found = _sought(model, file, prefix, two_files)
    taken = {
        parameter: _take(model, file, key, parameter, sought[parameter], found.how[parameter], manifest)
        for parameter, key in found.arrays.items()
    }
    missing = [(file.path, parameter, "/".join(sought[parameter])) for parameter in found.missing]
    manifest.missing += found.missing
    used = set(found.arrays.values())
    where = f" in {file.path}" if prefix == "low." else ""
    manifest.unused += ["/".join(key) + where for key in file.arrays if key not in used]
    manifest.unread += [entry + where for entry in file.unread]
    return taken, missing


def _sought(model: Network, file: WeightFile, prefix: str, two_files: bool) -> tuple[dict[str, Key], Found]:
    """parameter -> name of what a file should hold, and where it is: of the whole network, or of a backbone alone.

    Order alone names only backbones, whose order all writers share.
    """
    parts: list[tuple[str, Names, bool]] = []
    own = file.layout.startswith("epcore")
    whole_pose = any(name.startswith("high.") for name in model.parameters)
    if not (whole_pose and two_files):
        parts.append(("", _own_name if own else names_for(model), not whole_pose))
    if whole_pose:
        parts.append((prefix, _own_backbone_name if own else backbone_name, True))
    best: tuple[dict[str, Key], Found] | None = None
    for start, names, by_order in parts:
        sought = {parameter: names(parameter) for parameter in model.parameters if parameter.startswith(start)}
        shapes = {parameter: model.graph.parameters[parameter].shape for parameter in sought}
        order = [(kind, names(f"{layer}/")[0]) for kind, layer in keras_layers(model.graph, start)] if by_order else []
        found = find(file, sought, shapes, order)
        if best is None or len(found.arrays) > len(best[1].arrays):
            best = sought, found
    assert best is not None
    return best


def _own_name(parameter: str) -> tuple[str, str]:
    node, _, array = parameter.partition("/")
    return node, array


def _own_backbone_name(parameter: str) -> tuple[str, str]:
    return _own_name(parameter.partition(".")[2])


def _take(model: Network, file: WeightFile, key: Key, parameter: str, sought: Key, how: str, manifest: Manifest) -> np.ndarray:
    """The array of one parameter, checked, noted in the manifest."""
    path, source, array = file.path, "/".join(key), file.arrays[key]
    wanted = model.graph.parameters[parameter].shape
    transformation = ""
    if array.shape == (*wanted, 1):  # Keras: (k, k, C, multiplier 1)
        array, transformation = array[..., 0], "last axis dropped"
    if array.shape != wanted:
        also = f" ({how} {'/'.join(sought)})" if how.startswith("by order") else ""
        raise ValueError(
            f"{path} does not hold weights of {model.name}: {source}{also} has shape {array.shape}, expected {wanted}"
            + _channels(array.shape, wanted)
        )
    if array.dtype.kind != "f":
        raise ValueError(f"{path}: {source} has dtype {array.dtype}, expected floating point")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {source} has {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    if np.abs(array).max(initial=0) > np.finfo(model.dtype).max:
        raise ValueError(f"{path}: {source} holds values that {model.dtype} cannot")
    if array.dtype != model.dtype:
        transformation = ", ".join(filter(None, [transformation, f"{array.dtype} to {model.dtype}"]))
    manifest.matched.append(Match(path, source, parameter, wanted, str(array.dtype), transformation, digest(array), how))
    return array


def _channels(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Of a stem, why it does not fit."""
    if len(shape) != 4 or wanted[2] != 3 or shape[:2] != wanted[:2] or shape[3] != wanted[3]:
        return ""
    grey = " (greyscale)" if shape[2] == 1 else ""
    return f": it was trained on pictures of {shape[2]} channel{'s' * (shape[2] != 1)}{grey}, this network takes 3 (RGB)"
