"""Reads the arrays of Keras .h5 files of every layout, without Keras.

* Keras 2 (`model.save`: layers under the group model_weights; `save_weights`: at the root): the attribute `layer_names` lists
  the layers in order, the attribute `weight_names` of each layer's group lists its arrays. An array's path below its group
  need not repeat the layer's name, so the attributes are followed and paths never guessed. Attributes too long for HDF5 are
  split into `layer_names0`, `layer_names1`, ...
* Keras 3 (`.weights.h5`): groups are called by class and a counter (`conv2d_12`), arrays are numbered. Keras 3 also stores
  each layer's name as an attribute; tf_keras does not, and then only the order of the counters tells which layer it is
  (`resolve_by_order`). A `.keras` archive holds such a file.

A weight file is a stranger's: nothing in it is executed, links are not followed, and whatever it declares is compared with
what it can hold before anything is allocated.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from os import PathLike, fspath
from pathlib import Path

import h5py
import numpy as np

from epcore.base.files import decoding

MAXIMUM_BYTES = 2 << 30  # of all arrays; EfficientNet-B7 with its classifier has a quarter of a GiB
MAXIMUM_NAMES = 100_000
MAXIMUM_DEPTH = 32  # of groups; Keras nests fewer than ten, but a group that holds itself has no end
COMPRESSION = 100  # how much smaller than its values a compressed array may be; real weights reach 2

_ZIP, _ARCHIVED = b"PK\x03\x04", "model.weights.h5"
_PICKLE = "is a Python pickle, which could run code and is never loaded (PyTorch's files are pickles)"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Keras class in a group's name -> what its numbered arrays are.
_ROLES = {
    "conv2d": ("kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "dense": ("kernel", "bias"),
    "normalization": ("mean", "variance", "count"),
}


@dataclass(frozen=True)
class WeightFile:
    """arrays: (layer, array) -> values, in the file's order. Depthwise kernels are called "kernel".

    unnamed: for a Keras 3 file without names, class -> the arrays of its layers in order; `arrays` is empty then.
    """

    path: str
    layout: str
    sha256: str
    arrays: dict[tuple[str, str], np.ndarray]
    unnamed: dict[str, list[dict[str, np.ndarray]]] = field(default_factory=dict)


def read_keras_h5(path: str | PathLike[str]) -> WeightFile:
    """Every array of a Keras weight file.

    Raises OSError where the file cannot be read; ValueError where it is no HDF5 file, no Keras layout, damaged, or declares
    more than it holds.
    """
    name = fspath(path)
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if content.startswith(_ZIP):
        content = _from_archive(name, content)
    if not content.startswith(b"\x89HDF\r\n\x1a\n"):
        raise ValueError(f"{name} {_other_format(content)}: expected Keras weights in HDF5 (.h5)")
    with decoding(name), h5py.File(io.BytesIO(content), "r") as file:
        return Reader(name, len(content)).read(file, digest)


def _from_archive(name: str, content: bytes) -> bytes:
    """The weights inside a `.keras` archive. Raises ValueError for another archive, a damaged one, one too large inside."""
    with decoding(name), zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(entry.endswith(".pkl") for entry in archive.namelist()):
            raise ValueError(f"{name} {_PICKLE}: expected Keras weights in HDF5 (.h5)")
        if _ARCHIVED not in archive.namelist():
            raise ValueError(f"{name} is an archive without {_ARCHIVED}, so not one of Keras (.keras)")
        return unpack(name, content, archive, archive.getinfo(_ARCHIVED))


def unpack(name: str, content: bytes, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry of the archive that is the file `name` of this content, and not more of it than the archive declares.

    Raises ValueError where that is too much or does not unpack, and what zipfile raises for damaged archives.
    """
    size = entry.file_size
    if size > MAXIMUM_BYTES or size > COMPRESSION * len(content):
        raise ValueError(f"{name} would unpack to {size} bytes, {len(content)} are there")
    with archive.open(entry) as file:
        try:
            return file.read(size)  # read() without a size would unpack everything before it looks at the declared one
        except zlib.error as error:
            raise ValueError(f"{name} is damaged: {error}") from None


def _other_format(content: bytes) -> str:
    if content[:2] in _PICKLES:
        return _PICKLE
    if content[4:8] == b"TFL3":
        return "is a TensorFlow Lite model, whose weights are folded and rounded"
    return "is not an HDF5 file"


class Reader:
    """Reads groups, arrays and attributes of one file, each checked first."""

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        self.size = size
        self.room = MAXIMUM_BYTES

    def read(self, file: h5py.File, sha256: str) -> WeightFile:
        if "model_weights" in file:
            return WeightFile(self.path, "Keras full model", sha256, dict(self._keras2(self._group(file, "model_weights"))))
        if "layer_names" in file.attrs or "layer_names0" in file.attrs:
            return WeightFile(self.path, "Keras 2 weights", sha256, dict(self._keras2(file)))
        if "layers" in file:
            return self._keras3(self._group(file, "layers"), sha256)
        raise ValueError(f"{self.path} holds no Keras layers (neither layer_names nor a group layers)")

    def _keras2(self, root: h5py.Group) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
        for layer in self.strings(root, "layer_names"):
            group = self._group(root, layer)
            for path in self.strings(group, "weight_names"):
                role = path.rpartition("/")[2].partition(":")[0].removeprefix("depthwise_")
                yield (layer, role), self.array(group, path)

    def _keras3(self, layers: h5py.Group, sha256: str) -> WeightFile:
        named: dict[tuple[str, str], np.ndarray] = {}
        unnamed: dict[str, list[dict[str, np.ndarray]]] = {}
        for group, kind in self._in_order(layers):
            if kind not in _ROLES or "vars" not in layers[group]:
                continue
            variables = self._group(self._group(layers, group), "vars")
            numbers = sorted((key for key in variables if key.isdecimal()), key=int)
            arrays = {role: self.array(variables, number) for role, number in zip(_ROLES[kind], numbers, strict=False)}
            if "name" in variables.attrs:
                layer = self.strings(variables, "name")[0]
                named |= {(layer, role): array for role, array in arrays.items()}
            else:
                unnamed.setdefault(kind, []).append(arrays)
        if named and unnamed:
            raise ValueError(f"{self.path} names only some of its layers")
        layout = "Keras 3 weights" if named else "Keras 3 weights without layer names"
        return WeightFile(self.path, layout, sha256, named, unnamed)

    def _in_order(self, layers: h5py.Group) -> list[tuple[str, str]]:
        """(group, class) sorted by class and counter: conv2d, conv2d_1, ..., conv2d_10."""
        found = []
        for group in layers:
            kind, _, number = group.rpartition("_")
            found.append((group, kind, int(number)) if number.isdecimal() and kind else (group, group, 0))
        return [(group, kind) for group, kind, _ in sorted(found, key=lambda each: each[1:])]

    def _group(self, parent: h5py.Group, path: str) -> h5py.Group:
        """The group at a path, every step of it checked: layers' names may hold slashes."""
        names = path.strip("/").split("/", MAXIMUM_DEPTH)
        if len(names) > MAXIMUM_DEPTH:
            raise ValueError(f"{self.path}: {path[:40]}... nests more than {MAXIMUM_DEPTH} groups")
        for name in names:
            self._require_hard_link(parent, name)
            child = parent[name]
            if not isinstance(child, h5py.Group):
                raise ValueError(f"{self.path}: {child.name} is not a group")
            parent = child
        return parent

    def array(self, parent: h5py.Group, path: str) -> np.ndarray:
        above, _, name = path.strip("/").rpartition("/")
        if above:
            parent = self._group(parent, above)
        self._require_hard_link(parent, name)
        dataset = parent[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
            raise ValueError(f"{self.path}: {parent.name}/{name} is not an array of numbers")
        if dataset.is_virtual or dataset.external:
            raise ValueError(f"{self.path}: {dataset.name} takes its values from another file, which is not followed")
        size, stored = prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        limit = stored * COMPRESSION if dataset.compression else stored
        if dataset.shape and (size > limit or stored > self.size):
            raise ValueError(f"{self.path}: {dataset.name} declares {dataset.shape}, {size} bytes, but holds {stored}")
        self.room -= size
        if self.room < 0:
            raise ValueError(f"{self.path} declares more than {MAXIMUM_BYTES} bytes of arrays")
        return dataset[()]

    def _require_hard_link(self, parent: h5py.Group, name: str) -> None:
        link = parent.get(name, getlink=True)
        if link is None:
            raise ValueError(f"{self.path}: {parent.name} lacks {name!r}")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{self.path}: {parent.name}/{name} is a link to elsewhere, which is not followed")

    def strings(self, group: h5py.Group, attribute: str) -> list[str]:
        """Strings of an attribute, also where it is split."""
        keys: Iterable[str] = [attribute] if attribute in group.attrs else []
        if not keys:
            keys = [f"{attribute}{i}" for i in range(len(group.attrs)) if f"{attribute}{i}" in group.attrs]
            if not keys:
                raise ValueError(f"{self.path}: {group.name} lacks the attribute {attribute}")
        values: list[str] = []
        for key in keys:
            identifier = group.attrs.get_id(key)
            if prod(identifier.shape or ()) > MAXIMUM_NAMES or identifier.dtype.itemsize > 1 << 20:
                raise ValueError(f"{self.path}: attribute {key} of {group.name} is too large")
            found = np.ravel(group.attrs[key])
            values += [value.decode() if isinstance(value, bytes) else str(value) for value in found]
        return [re.sub(r"^'(.*)'$", r"\1", value) for value in values]


def resolve_by_order(file: WeightFile, layers: Iterable[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Name the layers of a file without names: `layers` are (class, name) of the model's layers in order.

    The n-th layer of a class in the model is the n-th in the file; further layers of the file (later blocks, a classifier)
    keep Keras' names of class and counter. Shapes are for the caller to check. Raises ValueError where the file has too few
    layers.
    """
    seen: Counter[str] = Counter()
    arrays: dict[tuple[str, str], np.ndarray] = {}
    for kind, name in layers:
        number = seen[kind]
        seen[kind] += 1
        if number >= len(file.unnamed.get(kind, [])):
            raise ValueError(f"{file.path} has {number} layers of class {kind}, {name} would be number {number + 1}")
        arrays |= {(name, role): array for role, array in file.unnamed[kind][number].items()}
    for kind, unnamed in file.unnamed.items():
        for number in range(seen[kind], len(unnamed)):
            group = f"{kind}_{number}" if number else kind
            arrays |= {(group, role): array for role, array in unnamed[number].items()}
    return arrays
