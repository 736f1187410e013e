"""Files that go to and from ports: named arrays with a manifest, .npz or .h5 (golden vectors, and what a port gives for them),
and a single tensor, .npy."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from epcore.base.arrays import require_finite
from epcore.base.files import decoding
from epcore.base.guarded import read_guarded
from epcore.base.staging import write_atomically
from epcore.weights_tools.formats import npy_array, read_npz
from epcore.weights_tools.keras_h5 import MAXIMUM_NAMES, Reader

SUFFIXES = (".npz", ".h5")


@dataclass
class Vectors:
    """arrays by name ("layers/high.stem_conv"), and what is known about them; manifest is empty for a port's own file."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)


def check_suffix(path: str | PathLike[str]) -> str:
    """Raises ValueError for a file that is neither .npz nor .h5."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"{fspath(path)} ends in {suffix!r}, expected .npz or .h5")
    return suffix


def write_vectors(path: str | PathLike[str], vectors: Vectors) -> None:
    """Raises ValueError for another suffix and OSError where the file cannot be written; then nothing is left behind."""
    write_atomically(path, encode_vectors(path, vectors))


def encode_vectors(path: str | PathLike[str], vectors: Vectors) -> bytes:
    """The file that `write_vectors` writes. Raises ValueError as it does."""
    buffer = io.BytesIO()
    manifest = json.dumps(vectors.manifest)
    if check_suffix(path) == ".npz":
        np.savez(buffer, epcore=np.array(manifest), **vectors.arrays)  # type: ignore[arg-type]
    else:
        with h5py.File(buffer, "w") as file:
            # As a dataset: an attribute holds 64 KiB at most.
            file.create_dataset("epcore", data=np.frombuffer(manifest.encode(), np.uint8))
            for name, array in vectors.arrays.items():
                file.create_dataset(name, data=array, track_times=False)
    return buffer.getvalue()


def read_vectors(path: str | PathLike[str], *, trusted: bool = False) -> Vectors:
    """Everything in a file of ours or of a port. trusted: opened in this process, not in one of its own.

    Raises OSError where the file cannot be read; ValueError where it is damaged, of another kind, holds anything but arrays
    of numbers, declares more than it holds, or cannot be read within what `epcore.base.guarded` allows.
    """
    check_suffix(path)
    if trusted:
        return _read_here(path)
    return Vectors(**read_guarded("epcore.port.store:plain_vectors", path))


def plain_vectors(path: str) -> dict[str, Any]:
    """Vectors of a file as plain values, for `read_vectors` in another process."""
    return vars(_read_here(path))


def _read_here(path: str | PathLike[str]) -> Vectors:
    suffix, name = check_suffix(path), fspath(path)
    content = Path(path).read_bytes()
    with decoding(name, otherwise=f" or no {suffix} file"):
        arrays, manifest = read_npz(name, content) if suffix == ".npz" else _read_h5(name, content)
    if not isinstance(manifest, dict):
        raise ValueError(f"{name} is damaged: its manifest is no JSON object")
    for key, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name}: {key} has dtype {array.dtype}, expected numbers")
    return Vectors(arrays, manifest)


def _read_h5(name: str, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    reader = Reader(name, len(content))
    with h5py.File(io.BytesIO(content), "r") as file:
        arrays = {path: reader.array(file, path) for path in _hard_linked(name, file)}
    manifest = arrays.pop("epcore", None)
    return arrays, {} if manifest is None else json.loads(manifest.astype(np.uint8).tobytes())


def _hard_linked(name: str, file: h5py.File) -> list[str]:
    """Paths of all arrays. Links to elsewhere are refused by the reader; a group reached twice is visited once."""
    paths: list[str] = []
    waiting, seen = [""], set()
    while waiting:
        prefix = waiting.pop()
        group = file[prefix] if prefix else file
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for key in group:
            path = f"{prefix}/{key}" if prefix else key
            hard = isinstance(group.get(key, getlink=True), h5py.HardLink)
            (waiting if hard and isinstance(group[key], h5py.Group) else paths).append(path)
        if len(paths) + len(waiting) > MAXIMUM_NAMES:
            raise ValueError(f"{name} holds more than {MAXIMUM_NAMES} names")
    return paths


def read_tensor(path: str) -> np.ndarray:
    """A .npy file of float32 numbers, C-contiguous. Raises OSError, ValueError or TypeError naming the file."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder, expected a .npy file")
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    with decoding(path, otherwise=" or no .npy file of plain numbers"):
        array = npy_array(path, "it", Path(path).read_bytes())
    if array.dtype != np.float32:
        raise TypeError(f"{path} has dtype {array.dtype}, expected float32")
    require_finite(array, path)
    return np.ascontiguousarray(array)
