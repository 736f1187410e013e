"""`epcore run`: a stored input tensor -> the raw maps, for comparing ports and for what `predict` does not do.

Maps that hold NaN or infinite values are not written: the error (exit code 2) says whether weights, input or kernels are at
fault.
"""

from __future__ import annotations

import argparse
import os

import numpy as np

from epcore.backend import to_numpy
from epcore.base.files import check_writable, open_atomically
from epcore.commands.model import add_model_arguments, load_model
from epcore.inference.engine import engine
from epcore.not_numbers import require_numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--input", required=True, metavar="X.npy", help="preprocessed float32 (N,R,R,3)")
    parser.add_argument(
        "--output", required=True, metavar="Y.npz", help="receives pafs, confs2, confs3, upscaled (Lite: the last two)"
    )


def run(arguments: argparse.Namespace) -> int:
    check_writable(arguments.output)
    if os.path.realpath(arguments.output) in (os.path.realpath(arguments.input), os.path.realpath(arguments.weights or "")):
        raise ValueError(f"--output {arguments.output} would overwrite an input")
    x = read_tensor(arguments.input)
    model = load_model(arguments)
    R = model.resolution
    if x.ndim != 4 or x.shape[1:] != (R, R, 3):
        raise ValueError(f"{arguments.input} has shape {x.shape}, expected (N, {R}, {R}, 3) for {model.name}")
    if len(x) == 0:
        raise ValueError(f"{arguments.input} has shape {x.shape}: the batch is empty")
    chosen = engine(model, len(x), backend=arguments.backend)
    outputs = chosen(x)
    maps = {label: getattr(outputs, label) for label in ("pafs", "confs2", "confs3", "upscaled")}
    for array in maps.values():
        if array is not None:
            require_numbers(array, chosen, x)
    with open_atomically(arguments.output) as file:
        np.savez(file, **{label: to_numpy(array) for label, array in maps.items() if array is not None})  # type: ignore[arg-type]
    return 0


def read_tensor(path: str) -> np.ndarray:
    """A .npy file of float32 numbers, C-contiguous. Raises OSError, ValueError or TypeError naming the file."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder, expected a .npy file")
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as file:
        try:
            array = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:  # also what np.save writes for object arrays: pickles
            raise ValueError(f"{path} is not a .npy file of plain numbers: {error}") from None
    if array.dtype != np.float32:
        raise TypeError(f"{path} has dtype {array.dtype}, expected float32")
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    return np.ascontiguousarray(array)
