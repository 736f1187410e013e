"""Golden vectors to compare with: what the file says of itself is checked once, so that whoever compares may rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np

from epcore.base.files import decoding
from epcore.ops import OPS
from epcore.port.operators import inputs_of, our_arrays
from epcore.port.pipeline.golden import KIND
from epcore.port.store import Vectors, read_vectors
from epcore.port.vectors import FORMAT, LAYOUTS
from epcore.pose.preprocess import PREPROCESSING, Geometry

_MODES = ("inference", "training")


def read_golden(path: str | PathLike[str]) -> Vectors:
    """A file that `epcore vectors` made, of a network or of operators.

    Raises OSError where it cannot be read, ValueError where it is damaged, of another kind, or lacks what its kind has.
    """
    name, golden = fspath(path), read_vectors(path)
    found = golden.manifest.get("epcore_format")
    if found != FORMAT:
        raise ValueError(f"{name} has format {found!r}, expected {FORMAT!r}: make it with `epcore vectors`")
    with decoding(name):
        manifest = _Entry("the manifest", golden.manifest)
        manifest.one_of("layout", LAYOUTS)
        kind = manifest.one_of("kind", ("network", "operators", KIND))
        if kind == "network":
            _check_network(manifest, golden.arrays)
        elif kind == KIND:
            _check_pipeline(manifest, golden.arrays)
        else:
            for number, case in enumerate(manifest.get("cases", list)):
                _check_case(_Entry(f"case {number}", case), golden)
    return golden


class _Entry:
    """An object of the manifest. Its methods raise ValueError for fields that are missing or of another kind."""

    def __init__(self, where: str, fields: object) -> None:
        if not isinstance(fields, dict):
            raise ValueError(f"{where} is a {type(fields).__name__}, expected an object")
        self.where, self.fields = where, fields

    def get(self, name: str, *kinds: type) -> Any:
        value = self.fields.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{self.where} has {name} {value!r:.40}, expected {' or '.join(kind.__name__ for kind in kinds)}")
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        value: str = self.get(name, str)
        if value not in choices:
            raise ValueError(f"{self.where} has {name} {value!r:.40}, expected one of {', '.join(choices)}")
        return value


def _check_network(manifest: _Entry, arrays: Mapping[str, np.ndarray]) -> None:
    manifest.get("variant", str)
    manifest.get("weights_sha256", str)
    manifest.one_of("mode", _MODES)
    for number, layer in enumerate(manifest.get("layers", list)):
        entry = _Entry(f"layer {number}", layer)
        entry.get("name", str)
        entry.get("rounding", int, float)
        if "gradient_rounding" in entry.fields:
            entry.get("gradient_rounding", int, float)
    maps = ["input"]
    if manifest.get("loss", str, type(None)) is not None:
        maps += [f"directions/{label}" for label in manifest.get("outputs", dict)]
        gradients = _Entry("gradients", manifest.get("gradients", dict))
        for name in {"input_gradient", *gradients.fields}:
            _Entry(name, gradients.fields.get(name)).get("rounding", int, float)
    for name in maps:
        if name not in arrays or arrays[name].ndim != 4:
            raise ValueError(f"it has no map {name!r:.60}")


def _check_pipeline(manifest: _Entry, arrays: Mapping[str, np.ndarray]) -> None:
    manifest.get("variant", str)
    manifest.get("weights_sha256", str)
    manifest.one_of("preprocessing", tuple(PREPROCESSING))
    size = manifest.get("size", int)
    for number, fields in enumerate(manifest.get("cases", list)):
        case = _Entry(f"case {number}", fields)
        name = case.get("name", str)
        case.get("person", bool)
        if any(case.get(field, int) < 0 for field in Geometry.__dataclass_fields__):
            raise ValueError(f"{case.where} has a negative place")
        expected = {f"maps/{name}": 3, f"points/{name}": 2}
        if f"pictures/{name}" in arrays:
            expected |= {f"pictures/{name}": 3, f"x/{name}": 3}
            if f"x/{name}" in arrays and arrays[f"x/{name}"].shape != (size, size, 3):
                raise ValueError(f"x/{name} has shape {arrays[f'x/{name}'].shape}, expected {(size, size, 3)}")
        for key, axes in expected.items():
            if key not in arrays or arrays[key].ndim != axes or not arrays[key].size:
                raise ValueError(f"it has no array {key!r:.60} of {axes} axes")


def _check_case(case: _Entry, golden: Vectors) -> None:
    """Its operator gives, for the arrays that are there, a y of the shape that is there."""
    op = case.one_of("op", tuple(OPS))
    prefix, attributes = f"cases/{case.get('name', str)}", case.get("attributes", dict)
    case.get("what", str)
    ours = our_arrays(golden, case.fields)
    for name, rounding in case.get("rounding", dict).items():
        if name not in ours:
            raise ValueError(f"it has no array {prefix}/{name!r:.40}")
        _Entry(case.where, {name: rounding}).get(name, int, float)
    y, _ = OPS[op].forward(*inputs_of(op, ours), **attributes)
    shape = np.shape(y) or (1,)  # a loss is stored as an array of one number
    if "y" not in ours or ours["y"].shape != shape:
        raise ValueError(f"{prefix}/y has another shape than {shape}, which its inputs give")
