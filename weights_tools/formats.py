"""epcore's own weight files: every parameter under its own name, bit for bit, in .h5, .npz or .safetensors.

A file starts to exist only when it is complete. Each carries FORMAT and the network's name; a reader refuses a format it
does not know.
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

from epcore.commands.output import write_atomically
from epcore.network import Network
from epcore.shapes import kernel_to_nchw
from epcore.weights_tools.keras_h5 import COMPRESSION, MAXIMUM_BYTES, Reader, WeightFile, unpack

FORMAT = "epcore weights 1"
_SUFFIXES = (".h5", ".npz", ".safetensors")


def is_epcore_file(path: str | PathLike[str]) -> bool:
    """Whether a file is in one of these formats (an .h5 without our mark is Keras')."""
    if Path(path).suffix in (".npz", ".safetensors"):
        return True
    try:
        with h5py.File(fspath(path), "r") as file:
            return "epcore_format" in file.attrs
    except (OSError, RuntimeError):
        return False


def export_weights(model: Network, path: str | PathLike[str], *, dtype: str = "float32", layout: str = "NHWC") -> None:
    """Write all parameters. dtype "float16" halves the file; layout "NCHW" permutes kernels to (Cout, Cin, kh, kw),
    depthwise ones to (C, 1, kh, kw) and transposed ones to (Cin, Cout, kh, kw), as PyTorch and ONNX take them (then the
    file is for others and not read back).

    Raises ValueError for an unknown suffix, dtype or layout, and OSError where the file cannot be written.
    """
    if layout not in ("NHWC", "NCHW"):
        raise ValueError(f"layout is {layout!r}, expected NHWC or NCHW")
    if dtype not in ("float16", "float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}, expected float16, float32 or float64")
    ops = {name: node.op for node in model.graph.nodes.values() for name in node.parameters if name is not None}
    arrays = {}
    for name, array in model.parameters.items():
        if layout == "NCHW" and name.endswith("kernel"):
            array = kernel_to_nchw(array, depthwise=ops[name] == "depthwise_conv2d")
        with np.errstate(over="raise"):
            try:
                arrays[name] = np.ascontiguousarray(array.astype(dtype))
            except FloatingPointError:
                raise ValueError(f"{name} holds values that {dtype} cannot") from None
    facts = {"epcore_format": FORMAT if layout == "NHWC" else f"{FORMAT}, NCHW", "network": model.name}
    write_atomically(path, _encode(Path(path).suffix, arrays, facts))


def _encode(suffix: str, arrays: dict[str, np.ndarray], facts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    match suffix:
        case ".h5":
            with h5py.File(buffer, "w") as file:
                file.attrs.update(facts)
                for name, array in arrays.items():
                    file.create_dataset(name, data=array, track_times=False)
        case ".npz":
            np.savez(buffer, **arrays, epcore=np.array(json.dumps(facts)))  # type: ignore[arg-type]
        case ".safetensors":
            try:
                from safetensors.numpy import save
            except ModuleNotFoundError:
                raise ModuleNotFoundError("safetensors is not installed: pip install 'epcore[safetensors]'") from None
            return save(arrays, metadata=facts)
        case _:
            raise ValueError(f"cannot export to {suffix!r}: expected a file ending in {', '.join(_SUFFIXES)}")
    return buffer.getvalue()


def read_epcore(path: str | PathLike[str]) -> WeightFile:
    """Raises OSError where the file cannot be read and ValueError where it is damaged or of an unknown format."""
    name = fspath(path)
    content = Path(path).read_bytes()
    try:
        arrays, facts = _DECODERS[Path(path).suffix](name, content)
    except (OSError, KeyError, RuntimeError, TypeError, EOFError, zipfile.BadZipFile, MemoryError, OverflowError) as error:
        raise ValueError(f"{name} is damaged: {error}") from None
    except ValueError as error:
        raise ValueError(str(error) if name in str(error) else f"{name} is damaged: {error}") from None
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
            arrays[entry.filename.removesuffix(".npy")] = _npy(name, entry.filename, unpack(name, content, archive, entry))
    facts = json.loads(str(arrays.pop("epcore"))) if "epcore" in arrays else {}
    return arrays, facts


def _npy(name: str, entry: str, content: bytes) -> np.ndarray:
    """One .npy, its header compared with its length before anything is allocated."""
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
    return arrays, header.get("__metadata__", {})


_DECODERS = {".h5": _from_h5, ".npz": read_npz, ".safetensors": _from_safetensors}
