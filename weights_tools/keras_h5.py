"""Reads the arrays of Keras .h5 files and `.keras` archives, without Keras; `layouts` says which layers they belong to.

A weight file is a stranger's: nothing in it is executed, links are not followed, and whatever it declares is compared with
what it can hold before anything is allocated.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from math import prod
from os import PathLike, fspath
from pathlib import Path

import h5py
import numpy as np

from epcore.base.files import decoding
from epcore.weights_tools.layouts import read_layers
from epcore.weights_tools.weight_file import WeightFile

MAXIMUM_BYTES = 2 << 30  # of all arrays; EfficientNet-B7 with its classifier has a quarter of a GiB
MAXIMUM_NAMES = 100_000
MAXIMUM_DEPTH = 32  # of groups; Keras nests fewer than ten, but a group that holds itself has no end
COMPRESSION = 100  # how much smaller than its values a compressed array may be; real weights reach 2

_ZIP, _ARCHIVED = b"PK\x03\x04", "model.weights.h5"
_PICKLE = "is a Python pickle, which could run code and is never loaded (PyTorch's files are pickles)"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


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
        contents = read_layers(Reader(name, len(content)), file)
    return WeightFile(name, contents.layout, digest, contents.arrays, contents.layers, contents.unread)


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
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name}: {entry.filename} is compressed in a way that neither Keras nor NumPy writes")
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
        self.links: list[str] = []  # met by `walk` and not followed

    def group(self, parent: h5py.Group, path: str) -> h5py.Group:
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
        return self.values(self.dataset(parent, path))

    def dataset(self, parent: h5py.Group, path: str) -> h5py.Dataset:
        above, _, name = path.strip("/").rpartition("/")
        if above:
            parent = self.group(parent, above)
        self._require_hard_link(parent, name)
        dataset = parent[name]
        if not isinstance(dataset, h5py.Dataset):
            raise ValueError(f"{self.path}: {parent.name}/{name} is not an array of numbers")
        return dataset

    def values(self, dataset: h5py.Dataset) -> np.ndarray:
        """Its values, if it declares no more than it holds. Raises ValueError."""
        if dataset.shape is None or dataset.dtype.kind not in "fiu":
            raise ValueError(f"{self.path}: {dataset.name} is not an array of numbers")
        if dataset.is_virtual or dataset.external:
            raise ValueError(f"{self.path}: {dataset.name} takes its values from another file, which is not followed")
        size, stored = prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        limit = stored * COMPRESSION if dataset.compression else stored
        if dataset.shape and (size > limit or stored > self.size):
            raise ValueError(f"{self.path}: {dataset.name} declares {dataset.shape}, {size} bytes, but holds {stored}")
        self.room -= size
        if self.room < 0:
            raise ValueError(f"{self.path} declares more than {MAXIMUM_BYTES} bytes of arrays")
        return np.asarray(dataset[()])  # h5py makes NumPy scalars of arrays without axes

    def walk(self, root: h5py.Group) -> Iterator[tuple[tuple[str, ...], h5py.Group | h5py.Dataset]]:
        """(path, item) of all that is below a group, every object once; links to elsewhere are not followed."""
        seen = {h5py.h5o.get_info(root.id).addr}
        left: list[tuple[tuple[str, ...], h5py.Group]] = [((), root)]
        while left:
            above, group = left.pop()
            for name in group:
                path = (*above, name)
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    self.links.append(f"/{'/'.join(path)} is a link to elsewhere, which is not followed")
                    continue
                item = group[name]
                if not isinstance(item, h5py.Group | h5py.Dataset):
                    continue
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if len(seen) > MAXIMUM_NAMES:
                    raise ValueError(f"{self.path} holds more than {MAXIMUM_NAMES} groups and arrays")
                if len(path) > MAXIMUM_DEPTH:
                    raise ValueError(f"{self.path}: {path[0][:40]}/... nests more than {MAXIMUM_DEPTH} groups")
                yield path, item
                if isinstance(item, h5py.Group):
                    left.append((path, item))

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
