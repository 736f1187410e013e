"""Reading epcore's own weight files: every parameter under its own name, bit for bit, in .h5, .npz or .safetensors.

Each carries FORMAT and the network's name; a format that is not known is refused. `epcore.export.weights` writes them.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from math import prod
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from epcore.base.files import decoding
from epcore.weights_tools.keras_h5 import COMPRESSION, MAXIMUM_BYTES, Reader, read_keras_h5, unpack
from epcore.weights_tools.weight_file import WeightFile

FORMAT = "epcore weights 1"


def read_weights_here(path: str | PathLike[str]) -> WeightFile:
    """A weight file of any format, read in this process. Raises OSError or ValueError, naming the file."""
    return read_epcore(path) if is_epcore_file(path) else read_keras_h5(path)


def plain_weights(path: str) -> dict[str, Any]:
    """The same as plain values, for `read.read_weights` in another process."""
    file = read_weights_here(path)
    arrays = [[*key, array] for key, array in file.arrays.items()]
    return {**vars(file), "arrays": arrays, "layers": {name: vars(layer) for name, layer in file.layers.items()}}


def plain_npz(path: str) -> list[Any]:
    """`read_npz` of a file, as plain values."""
    with decoding(path):
        return list(read_npz(path, Path(path).read_bytes()))


def is_epcore_file(path: str | PathLike[str]) -> bool:
    """Whether a file is in one of these formats (an .h5 without our mark is Keras')."""
    if Path(path).suffix in (".npz", ".safetensors"):
        return True
    try:
        with h5py.File(fspath(path), "r") as file:
            return "epcore_format" in file.attrs
    except Exception:  # damaged, or something else altogether: who reads it says so
        return False


def read_epcore(path: str | PathLike[str]) -> WeightFile:
    """Raises OSError where the file cannot be read and ValueError where it is damaged or of an unknown format."""
    name = fspath(path)
    content = Path(path).read_bytes()
    with decoding(name):
        arrays, facts = _DECODERS.get(Path(path).suffix, _from_h5)(name, content)  # HDF5 by any name
    if facts.get("epcore_format") != FORMAT:
        raise ValueError(f"{name} has format {facts.get('epcore_format')!r}, expected {FORMAT!r}")
    keyed = {(key.partition("/")[0], key.partition("/")[2]): array for key, array in arrays.items()}
    return WeightFile(name, f"{FORMAT} of {facts.get('network')}", hashlib.sha256(content).hexdigest(), keyed)


def _from_h5(name: str, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    reader = Reader(name, len(content))
    with h5py.File(io.BytesIO(content), "r") as file:
        facts = {key: reader.strings(file, key)[0] for key in ("epcore_format", "network") if key in file.attrs}
        groups = list(file)
        return {f"{group}/{key}": reader.array(file, f"{group}/{key}") for group in groups for key in file[group]}, facts


def read_npz(name: str, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays by name, the JSON of the entry "epcore"), each entry checked before it is allocated. Raises as `read_epcore`."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
        if declared > MAXIMUM_BYTES or declared > COMPRESSION * len(content):
            raise ValueError(f"{name} would unpack to {declared} bytes, {len(content)} are there")
        for entry in archive.infolist():
            arrays[entry.filename.removesuffix(".npy")] = npy_array(name, entry.filename, unpack(name, content, archive, entry))
    facts = _facts(name, json.loads(str(arrays.pop("epcore")))) if "epcore" in arrays else {}
    return arrays, facts


def _facts(name: str, facts: object) -> dict[str, Any]:
    if not isinstance(facts, dict):
        raise ValueError(f"{name} is damaged: what it says of itself is a {type(facts).__name__}, expected a JSON object")
    return facts


def npy_array(name: str, entry: str, content: bytes) -> np.ndarray:
    """One .npy, the entry of a file or the whole of it; its header is compared with its length before anything is allocated.

    Raises ValueError, and whatever NumPy raises for damaged headers (wrap it in `decoding`).
    """
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError(f"{name}: {entry} holds Python objects, which could run code and are never loaded")
    if prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"{name}: {entry} declares {shape} of {dtype}, but holds {len(content) - stream.tell()} bytes")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _from_safetensors(name: str, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ModuleNotFoundError:
        raise ValueError(f"{name}: safetensors is not installed: pip install 'epcore[safetensors]'") from None
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(f"{name} is damaged: {error}") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return arrays, _facts(name, header.get("__metadata__", {}))


_DECODERS = {".npz": read_npz, ".safetensors": _from_safetensors}
