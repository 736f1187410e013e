"""The arrays of a port's file, found by name and brought to our layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from epcore.graph import INPUT, Graph
from epcore.port.compare import detect_layout, kernel_to_hwio, to_nhwc
from epcore.port.setting import Arrays
from epcore.shapes import Shape

# Entries of our own files that are no layers; a port may hand them back unchanged.
_OURS = ("samples", "channels", "directions", "gradient_samples", "gradient_channels")


@dataclass
class PortArrays:
    """layers, layer_gradients, parameter_gradients: by our names, in our layout. "input" is among the layers, its gradient
    among the layers' gradients. wrong_shapes: of layers, (the port's, the right one). unknown: names that fit nothing.
    """

    layout: str
    layers: Arrays = field(default_factory=dict)
    layer_gradients: Arrays = field(default_factory=dict)
    parameter_gradients: Arrays = field(default_factory=dict)
    wrong_shapes: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def match_port(
    arrays: Arrays, graph: Graph, shapes: Mapping[str, Shape], *, layout: str = "auto", names: Mapping[str, str] | None = None
) -> PortArrays:
    """arrays: as read. shapes: of the input and every layer, NHWC. names: the port's name -> ours, for those that differ.

    A layer may be called by its name, by "layers/" and its name, or, if it is an output, by its label. Raises ValueError
    where nothing fits, where two arrays claim one place, or where a gradient has the wrong shape.
    """
    places: dict[tuple[str, str], tuple[str, np.ndarray]] = {}
    unknown = []
    for key, array in arrays.items():
        if key.partition("/")[0] in _OURS:
            continue
        place = _place((names or {}).get(key, key), graph)
        if place is None:
            unknown.append(key)
        elif place in places:
            raise ValueError(f"{key} and {places[place][0]} both claim to be {place[1]}")
        else:
            places[place] = key, array
    if not places:
        first = f", such as {unknown[0]!r}{_suggest(unknown[0], graph)}" if unknown else ""
        raise ValueError(f"none of the {len(arrays)} arrays is called as a layer is{first}; --names FILE maps other names")
    maps = {key: array for (kind, _), (key, array) in places.items() if kind != "parameter_gradients"}
    expected = {key: shapes[name] for (kind, name), (key, _) in places.items() if kind != "parameter_gradients"}
    found = PortArrays(detect_layout(maps, expected) if layout == "auto" else layout, unknown=unknown)
    for (kind, name), (key, array) in places.items():
        if kind == "parameter_gradients":
            shape = graph.parameters[name].shape
            ours = kernel_to_hwio(array, shape, found.layout) if name.endswith("/kernel") else array
            if ours is None or ours.shape != shape:
                raise ValueError(f"{key} has shape {array.shape}, expected that of {name}, {shape} in NHWC")
            found.parameter_gradients[name] = ours
            continue
        right = to_nhwc(array, shapes[name], found.layout)
        if right is not None:
            (found.layers if kind == "layers" else found.layer_gradients)[name] = right
        elif kind == "layers":
            found.wrong_shapes[name] = array.shape, _in_layout(shapes[name], found.layout)
        else:
            raise ValueError(f"{key} has shape {array.shape}, expected {_in_layout(shapes[name], found.layout)}")
    return found


def _place(name: str, graph: Graph) -> tuple[str, str] | None:
    """(kind, our name)."""
    if name == "input_gradient":
        return "layer_gradients", INPUT
    if name.startswith("parameter_gradients/"):
        name = name.removeprefix("parameter_gradients/")
        return ("parameter_gradients", name) if name in graph.parameters else None
    kind = "layer_gradients" if name.startswith("layer_gradients/") else "layers"
    name = name.removeprefix(f"{kind}/")
    name = graph.outputs.get(name, name)
    return (kind, name) if name in graph.nodes or name == INPUT else None


def _suggest(name: str, graph: Graph) -> str:
    close = get_close_matches(name.removeprefix("layers/"), [INPUT, *graph.nodes, *graph.outputs], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _in_layout(shape: Shape, layout: str) -> Shape:
    return (shape[0], shape[3], shape[1], shape[2]) if layout == "NCHW" else shape
