"""A port's single operators beside the golden vectors of `epcore vectors --operators`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.ops import OPS
from epcore.port.compare import Difference, compare, kernel_to_hwio, to_nhwc, tolerance
from epcore.port.mistakes import mistakes
from epcore.port.store import Vectors
from epcore.port.vectors import is_kernel
from epcore.shapes import kernel_from_nchw, nchw_to_nhwc


@dataclass(frozen=True)
class WrongArray:
    """case: "depthwise_conv2d/4". array: "y", "dx", ... causes: what it may be, exact matches only."""

    case: str
    what: str
    array: str
    difference: Difference | None
    shape: str
    causes: tuple[tuple[str, str], ...]


def compare_operators(
    port: Mapping[str, np.ndarray], golden: Vectors, *, layout: str = "auto", relative: float | None = None
) -> tuple[int, list[WrongArray]]:
    """How many arrays were compared, and those that are wrong.

    port: "cases/<operator>/<number>/<array>" as in the golden file, any subset of y and gradients. Raises ValueError where
    none of them is there.
    """
    golden_layout = golden.manifest["layout"]
    layout = golden_layout if layout == "auto" else layout
    compared, wrong = 0, []
    for entry in golden.manifest["cases"]:
        op, prefix, ours = entry["op"], f"cases/{entry['name']}", our_arrays(golden, entry)
        for name in entry["rounding"]:
            theirs = port.get(f"{prefix}/{name}")
            if theirs is None:
                continue
            compared += 1
            right = ours[name].astype(np.float64)
            array = _fitted(theirs, right.shape, name, layout)
            if array is None:
                shape = f"its shape is {theirs.shape}, expected {golden.arrays[f'{prefix}/{name}'].shape} in {golden_layout}"
                wrong.append(WrongArray(entry["name"], entry["what"], name, None, shape, ()))
                continue
            limit = tolerance(right, entry["rounding"][name], theirs.dtype, relative)
            difference = compare(f"{entry['name']}/{name}", array, right, limit)
            if not difference.agrees:
                causes = _causes(op, entry["attributes"], ours, array, limit) if name == "y" else ()
                wrong.append(WrongArray(entry["name"], entry["what"], name, difference, "", causes))
    if not compared:
        raise ValueError("the port's file has none of the arrays cases/<operator>/<number>/y or .../d<array>")
    return compared, wrong


def _causes(
    op: str, attributes: dict[str, Any], ours: dict[str, np.ndarray], port: np.ndarray, limit: float
) -> tuple[tuple[str, str], ...]:
    inputs = inputs_of(op, ours)
    shapes = [None if array is None else array.shape for array in inputs]
    found = []
    for mistake in mistakes(op, shapes, attributes):
        y = mistake.forward(*inputs, **attributes)
        if y.shape == port.shape and np.abs(port.astype(np.float64) - y).max() <= limit:
            found.append((mistake.title, mistake.hint))
    return tuple(found)


def our_arrays(golden: Vectors, entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of one of a file's cases, by name, in our axes."""
    prefix = f"cases/{entry['name']}/"
    given = {key.rpartition("/")[2]: array for key, array in golden.arrays.items() if key.startswith(prefix)}
    return {name: _ours(array, name, entry["op"], golden.manifest["layout"]) for name, array in given.items()}


def inputs_of(op: str, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray | None]:
    """What goes into the operator of a case with these arrays, in double; None for what it leaves out."""
    names = OPS[op].array_names(len([name for name in arrays if name.startswith("xs")]) or len(arrays))
    return [arrays[name].astype(np.float64) if name in arrays else None for name in names]


def _ours(array: np.ndarray, name: str, op: str, layout: str) -> np.ndarray:
    """A golden array back in our axes."""
    if layout == "NHWC":
        return array
    if is_kernel(name):
        axes = OPS[op].kernel_axes
        return kernel_from_nchw(array, depthwise=axes is not None and axes.depthwise)
    return nchw_to_nhwc(array) if array.ndim == 4 else array


def _fitted(array: np.ndarray, shape: tuple[int, ...], name: str, layout: str) -> np.ndarray | None:
    if is_kernel(name):
        return kernel_to_hwio(array, shape, layout)
    return to_nhwc(array, shape, layout) if len(shape) == 4 else (array if array.shape == shape else None)
