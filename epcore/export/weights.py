"""epcore's own weight files: every parameter under its own name, bit for bit, in .h5, .npz or .safetensors.

A file starts to exist only when it is complete. It carries FORMAT and the network's name; `epcore.weights_tools.formats` reads
it.
"""

from __future__ import annotations

import io
import json
from os import PathLike
from pathlib import Path

import h5py
import numpy as np

from epcore.base.staging import write_atomically
from epcore.network import Network
from epcore.shapes import kernel_to_nchw
from epcore.weights_tools.formats import FORMAT

_SUFFIXES = (".h5", ".npz", ".safetensors")


def export_weights(model: Network, path: str | PathLike[str], *, dtype: str = "float32", layout: str = "NHWC") -> None:
    """Write all parameters. dtype "float16" halves the file; layout "NCHW" permutes kernels to (Cout, Cin, kh, kw),
    depthwise ones to (C, 1, kh, kw) and transposed ones to (Cin, Cout, kh, kw), as PyTorch and ONNX take them (then the
    file is for others and not read back).

    Raises ValueError for an unknown suffix, dtype or layout, and OSError where the file cannot be written.
    """
    write_atomically(path, encode_weights(model, path, dtype=dtype, layout=layout))


def encode_weights(model: Network, path: str | PathLike[str], *, dtype: str = "float32", layout: str = "NHWC") -> bytes:
    """The file that `export_weights` writes. Raises ValueError as it does."""
    if layout not in ("NHWC", "NCHW"):
        raise ValueError(f"layout is {layout!r}, expected NHWC or NCHW")
    if dtype not in ("float16", "float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}, expected float16, float32 or float64")
    arrays = {}
    for name, array in model.parameters.items():
        if layout == "NCHW" and name.endswith("kernel"):
            array = kernel_to_nchw(array)
        with np.errstate(over="raise"):
            try:
                arrays[name] = np.ascontiguousarray(array.astype(dtype))
            except FloatingPointError:
                raise ValueError(f"{name} holds values that {dtype} cannot") from None
    facts = {"epcore_format": FORMAT if layout == "NHWC" else f"{FORMAT}, NCHW", "network": model.name}
    return _encode(Path(path).suffix, arrays, facts)


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
            content: bytes = save(arrays, metadata=facts)
            return content
        case _:
            raise ValueError(f"cannot export to {suffix!r}: expected a file ending in {', '.join(_SUFFIXES)}")
    return buffer.getvalue()
