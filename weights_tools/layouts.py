"""Which layers a Keras HDF5 file holds, at any depth, and every array of it under a name of its own.

Keras 2 and full models: `layer_names` lists the layers of the outermost model, `weight_names` of each one's group its arrays.
A sub-model (also in Sequential or TimeDistributed) is one such layer, whose arrays are called `stem_conv/kernel:0`,
`stem_bn/gamma:0`, ...; a plain layer's arrays share what stands before the last slash, whatever it is.

Keras 3: a group `layers` within every model, in it a group for each layer, called by class and counter; a wrapper holds its
layer as `layer`, a subclassed model its layers as attributes. Arrays are numbered in a group `vars`, whose attribute `name` is
the layer's name where the writer stored it.

Arrays elsewhere (an optimizer's, a stranger's) are read as well, under their path: what a file holds is used or listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h5py
import numpy as np

from epcore.weights_tools.weight_file import Layer

if TYPE_CHECKING:
    from epcore.weights_tools.keras_h5 import Reader

# Keras class in a group's name -> what its numbered arrays are.
_ROLES = {
    "conv2d": ("kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
    "normalization": ("mean", "variance", "count"),
}
_ALL_OR_NONE = ("batch_normalization",)  # without scale or centre the numbers do not say which array is which

Path = tuple[str, ...]


@dataclass
class Contents:
    """As in `WeightFile`."""

    layout: str = ""
    arrays: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, layer: str, role: str, array: np.ndarray) -> None:
        """Never over another array: a second one of the same name is counted."""
        key, count = (layer, role), 1
        while key in self.arrays:
            count += 1
            key = (layer, f"{role}#{count}")
        self.arrays[key] = array


def read_layers(reader: Reader, file: h5py.File) -> Contents:
    """Raises ValueError for a file that is none of Keras', and for layers that do not hold what it says."""
    contents = Contents()
    if "model_weights" in file:
        contents.layout = "Keras full model"
        taken = _keras2(reader, reader.group(file, "model_weights"), contents)
    elif "layer_names" in file.attrs or "layer_names0" in file.attrs:
        contents.layout = "Keras 2 weights"
        taken = _keras2(reader, file, contents)
    elif any(re.fullmatch(r"layers(\\.*)?|vars|_layer_checkpoint_dependencies", key) for key in file):
        taken = _keras3(reader, file, contents)
        named = any(layer.named for layer in contents.layers.values())
        contents.layout = "Keras 3 weights" if named else "Keras 3 weights without layer names"
    else:
        raise ValueError(f"{reader.path} holds no Keras layers (neither layer_names nor a group layers)")
    for path, item in reader.walk(file):
        if isinstance(item, h5py.Group) or _address(item) in taken:
            continue
        try:
            contents.add("/".join(path[:-1]), path[-1], reader.values(item))
        except ValueError as error:  # beside the layers, so nothing that anyone relies on
            contents.unread.append(str(error).removeprefix(f"{reader.path}: "))
    contents.unread += dict.fromkeys(reader.links)
    return contents


def _address(dataset: h5py.Dataset) -> int:
    return int(h5py.h5o.get_info(dataset.id).addr)


def _keras2(reader: Reader, root: h5py.Group, contents: Contents) -> set[int]:
    taken: set[int] = set()
    for layer in reader.strings(root, "layer_names"):
        group = reader.group(root, layer)
        paths = list(dict.fromkeys(reader.strings(group, "weight_names")))
        inner = {path.rpartition("/")[0] for path in paths}
        names = {name: layer if len(inner) == 1 else f"{layer}/{name}".rstrip("/") for name in inner}
        found: dict[str, dict[str, np.ndarray]] = {}
        for path in paths:
            dataset = reader.dataset(group, path)
            taken.add(_address(dataset))
            above, _, leaf = path.rpartition("/")
            role = leaf.partition(":")[0].removeprefix("depthwise_")
            array = reader.values(dataset)
            contents.add(names[above], role, array)
            found.setdefault(names[above], {})[role] = array
        for name, arrays in found.items():
            contents.layers[name] = Layer("" if len(inner) == 1 else layer, _class_of(arrays))
    return taken


def _class_of(arrays: dict[str, np.ndarray]) -> str:
    """A layer's class by its arrays."""
    if "gamma" in arrays or "moving_mean" in arrays:
        return "batch_normalization"
    kernel = arrays.get("kernel")
    if kernel is None or kernel.ndim != 4:
        return ""
    return "depthwise_conv2d" if kernel.shape[3] == 1 and kernel.shape[0] > 1 else "conv2d"


def _keras3(reader: Reader, file: h5py.File, contents: Contents) -> set[int]:
    names: dict[Path, str] = {}
    owners: dict[Path, list[tuple[int, h5py.Dataset]]] = {}  # path of a layer's group -> its numbered arrays
    for raw, item in reader.walk(file):
        path = tuple(part for name in raw for part in name.split("\\"))  # some writers on Windows joined groups so
        if isinstance(item, h5py.Group):
            if path[-1] == "vars":
                owners.setdefault(path[:-1], [])
                if "name" in item.attrs:
                    names[path[:-1]] = reader.strings(item, "name")[0]
        elif path[-2:-1] == ("vars",) and path[-1].isdecimal():
            owners.setdefault(path[:-2], []).append((int(path[-1]), item))
    taken: set[int] = set()
    for path in sorted(owners, key=lambda each: [_class_and_counter(part) for part in each]):
        datasets = [dataset for _, dataset in sorted(owners[path], key=lambda each: each[0])]
        if not datasets or path[:1] == ("optimizer",):
            continue
        taken.update(map(_address, datasets))
        arrays = [reader.values(dataset) for dataset in datasets]
        *above, layer = _called(path, names, owners) or ["vars"]
        container = "/".join(above)
        name = "/".join([*above, layer])
        if name in contents.layers:
            name = "/".join(path)
        kind, roles = _kind_and_roles(_class_and_counter(path[-1])[0] if path else "", arrays)
        for role, array in zip(roles, arrays, strict=True):
            contents.add(name, role, array)
        contents.layers[name] = Layer(container, kind, path in names)
    return taken


def _called(path: Path, names: dict[Path, str], owners: dict[Path, list[tuple[int, h5py.Dataset]]]) -> list[str]:
    """The path as people would say it: names where the file has them, without the groups that only collect layers."""
    prefixes = [path[: i + 1] for i in range(len(path))]
    return [
        names.get(prefix, prefix[-1])
        for prefix in prefixes
        if prefix in owners or prefix[-1] not in ("layers", "_layer_checkpoint_dependencies")
    ]


def _class_and_counter(group: str) -> tuple[str, int]:
    """conv2d, conv2d_1, ..., conv2d_10: ordered by number."""
    kind, _, number = group.rpartition("_")
    return (kind, int(number)) if number.isdecimal() and kind else (group, 0)


def _kind_and_roles(kind: str, arrays: list[np.ndarray]) -> tuple[str, Iterator[str] | tuple[str, ...]]:
    """A layer's class and what its numbered arrays are; the numbers where that cannot be told."""
    numbers = tuple(map(str, range(len(arrays))))
    if kind not in _ROLES:
        kind = ""
        if len(arrays) == 4 and all(array.ndim == 1 and array.shape == arrays[0].shape for array in arrays):
            kind = "batch_normalization"
        elif len(arrays) <= 2 and arrays[0].ndim == 4:
            kind = _class_of({"kernel": arrays[0]})
        if not kind:
            return "", numbers
    roles = _ROLES[kind]
    if len(arrays) > len(roles) or (kind in _ALL_OR_NONE and len(arrays) != len(roles)):
        return kind, numbers
    return kind, roles[: len(arrays)]
