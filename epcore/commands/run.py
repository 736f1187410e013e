"""`epcore run`: a stored input tensor -> the raw maps, for comparing ports and for what `predict` does not do.

Maps that hold NaN or infinite values are not written: the error (exit code 2) says whether weights, input or kernels are at
fault.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from epcore.backend import to_numpy
from epcore.commands.console import Input, add_output
from epcore.commands.model import add_model_arguments, load_model
from epcore.commands.result import Result
from epcore.inference.engine import engine
from epcore.not_numbers import require_numbers
from epcore.port.store import read_tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--input", type=Input, required=True, metavar="X.npy", help="preprocessed float32 (N,R,R,3)")
    help_text = "receives pafs, confs2, confs3, upscaled (Lite: the last two); - is standard output"
    add_output(parser, "--output", required=True, metavar="Y.npz", help=help_text)


def run(arguments: argparse.Namespace) -> Result:
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
    arrays: dict[str, Any] = {label: to_numpy(array) for label, array in maps.items() if array is not None}
    return Result(files={arguments.output: lambda file: np.savez(file, **arrays)})
