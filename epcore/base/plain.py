"""Values as text and bytes, for the way from one process to another: nothing in them can run code when they are read.

A value is None, a truth value, a number, a text, a list or tuple (which arrive as lists), a mapping of texts, or an array of
numbers, of texts or of such values. Arrays of numbers travel as their bytes beside the text, the rest as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

_NUMBERS = "fiub"  # kinds of dtypes that travel as bytes
_AXES = 32


def encode(value: object) -> tuple[bytes, list[np.ndarray]]:
    """The text, and the arrays whose bytes go after it. Raises TypeError for what is no such value."""
    arrays: list[np.ndarray] = []
    return json.dumps(_packed(value, arrays), separators=(",", ":")).encode(), arrays


def _packed(value: object, arrays: list[np.ndarray]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_packed(each, arrays) for each in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a mapping has keys that are no text")
        return {"mapping": {key: _packed(each, arrays) for key, each in value.items()}}
    if isinstance(value, np.generic):
        return _packed(value.item(), arrays)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a {type(value).__name__} is no number, text or array")
    if value.dtype.kind in _NUMBERS:
        arrays.append(value)
        return {"array": [value.dtype.str, value.shape]}
    if value.dtype.kind in "OU":
        return {"objects": [value.shape, [_packed(each, arrays) for each in value.ravel().tolist()]]}
    raise TypeError(f"an array has dtype {value.dtype}, expected numbers or texts")


def decode(text: bytes, room: int, fill: Callable[[memoryview], None]) -> Any:
    """The value again. Everything is checked, for whoever wrote the text may have been led astray by a file.

    room: bytes that all arrays together may have. fill: puts the next bytes into a buffer. Raises ValueError for a text that
    `encode` does not write, and for more than that; then nothing of that size was allocated.
    """
    try:
        tree = json.loads(text)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    arrays = iter(_filled(list(_declared(tree)), room, fill))
    return _unpacked(tree, arrays)


def _declared(tree: Any) -> Iterator[tuple[np.dtype[Any], tuple[int, ...]]]:
    """dtype and shape of every array, in order."""
    if isinstance(tree, list):
        for each in tree:
            yield from _declared(each)
    elif isinstance(tree, dict):
        match tree:
            case {"mapping": dict(items), **rest} if not rest:
                yield from _declared(list(items.values()))
            case {"array": [str(dtype), list(shape)], **rest} if not rest:
                yield _dtype(dtype), _shape(shape)
            case {"objects": [list(shape), list(items)], **rest} if not rest and prod(_shape(shape)) == len(items):
                yield from _declared(items)
            case _:
                raise ValueError("the answer holds an object of an unknown kind")


def _dtype(name: str) -> np.dtype[Any]:
    if len(name) > 4 or name[1:2] not in _NUMBERS or not name[2:].isdecimal():
        raise ValueError(f"the answer has an array of dtype {name[:20]!r}, expected numbers")
    try:
        return np.dtype(name)
    except TypeError:
        raise ValueError(f"the answer has an array of dtype {name!r}, expected numbers") from None


def _shape(sizes: list[Any]) -> tuple[int, ...]:
    if len(sizes) > _AXES or not all(type(size) is int and 0 <= size < 1 << 62 for size in sizes):
        raise ValueError("the answer has an array whose shape is none")
    return tuple(sizes)


def _filled(
    declared: list[tuple[np.dtype[Any], tuple[int, ...]]], room: int, fill: Callable[[memoryview], None]
) -> list[np.ndarray]:
    needed = sum(prod(shape) * dtype.itemsize for dtype, shape in declared)
    if needed > room:
        raise ValueError(f"the answer has {needed} bytes of arrays, more than the {room} that it may have")
    arrays = []
    for dtype, shape in declared:
        array = np.empty(shape, dtype)
        if array.nbytes:
            fill(array.reshape(-1).view(np.uint8).data)
        arrays.append(array)
    return arrays


def _unpacked(tree: Any, arrays: Iterator[np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_unpacked(each, arrays) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if "mapping" in tree:
        return {key: _unpacked(each, arrays) for key, each in tree["mapping"].items()}
    if "array" in tree:
        return next(arrays)
    shape, items = tree["objects"]
    objects = np.empty(len(items), object)
    for index, each in enumerate(items):
        objects[index] = _unpacked(each, arrays)
    return objects.reshape(shape)
