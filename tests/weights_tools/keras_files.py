"""Weight files as Keras 2 and Keras 3 write them, of models in which a backbone is one layer among others."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from epcore.network import Network
from epcore.weights_tools.name_map import keras_layers, keras_name

ROLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


def layers_of(model: Network) -> list[tuple[str, str, dict[str, np.ndarray]]]:
    """(class, name, array -> values) of the layers of a backbone, as Keras keeps them."""
    found = []
    for kind, layer in keras_layers(model.graph):
        arrays = {role: model.parameters[f"{layer}/{role}"] for role in ROLES[kind] if f"{layer}/{role}" in model.parameters}
        if kind == "depthwise_conv2d":
            arrays["kernel"] = arrays["kernel"][..., None]
        found.append((kind, keras_name(f"{layer}/")[0], arrays))
    return found


def write_keras2(
    path: Path,
    model: Network,
    *,
    group: str = "efficientnet-b0",
    called: Callable[[str], str] = lambda name: name,
    full_model: bool = False,
    classes: int = 5,
) -> None:
    """The backbone as the sub-model `group` of a classifier. called: what its layers are called inside."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if full_model else file
        root.attrs["layer_names"] = [name.encode() for name in ("input_1", group, "pool", "dense")]
        trained, moving = [], []
        for kind, name, arrays in layers_of(model):
            for role, array in arrays.items():
                leaf = f"depthwise_{role}" if kind == "depthwise_conv2d" else role
                (moving if role.startswith("moving") else trained).append((f"{called(name)}/{leaf}:0", array))
        head = [("dense/kernel:0", np.ones((40, classes), np.float32)), ("dense/bias:0", np.zeros(classes, np.float32))]
        for layer, arrays_of_layer in (("input_1", []), (group, trained + moving), ("pool", []), ("dense", head)):
            holder = root.create_group(layer)
            holder.attrs["weight_names"] = [name.encode() for name, _ in arrays_of_layer]
            for name, array in arrays_of_layer:
                holder[name] = array


def write_keras3(
    path: Path,
    model: Network,
    *,
    within: Sequence[tuple[str, str]] = (("functional", "efficientnetb0"),),
    called: Callable[[str], str] = lambda name: name,
    named: bool = True,
) -> None:
    """within: (group, name) of the sub-models around the backbone, outermost first; a group `layer` is what a wrapper holds.

    A path ending in .keras becomes an archive.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        place = ""
        for group, name in within:
            place += f"/{group}" if group == "layer" else f"/layers/{group}"
            describe(file, place, name, named)
        counts: Counter[str] = Counter()
        for kind, name, arrays in layers_of(model):
            number = f"_{counts[kind]}" if counts[kind] else ""
            counts[kind] += 1
            describe(file, f"{place}/layers/{kind}{number}", called(name), named, list(arrays.values()))
        head = [np.ones((40, 5), np.float32), np.zeros(5, np.float32)]
        describe(file, "/layers/dense", "head", named, head)
        file.create_group("vars")
    content = buffer.getvalue()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("model.weights.h5", content)
    else:
        path.write_bytes(content)


def describe(file: h5py.File, place: str, name: str, named: bool, arrays: Sequence[np.ndarray] = ()) -> None:
    variables = file.create_group(f"{place}/vars")
    if named:
        variables.attrs["name"] = name
    for number, array in enumerate(arrays):
        variables[str(number)] = array


def raw_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a file, by h5py alone."""
    content = path.read_bytes()
    if content.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            content = archive.read("model.weights.h5")
    found: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(lambda key, item: found.update({key: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found
