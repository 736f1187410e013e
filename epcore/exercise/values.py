"""Values on their way to a student's function and back: `epcore.base.plain` with tuples, and with names of what cannot travel.

A packed value is a text, number, truth value or None as it is, or a mapping of one entry that says what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_NUMBERS = "fiub"  # kinds of dtypes that travel


@dataclass(frozen=True)
class Unknown:
    """What came back and is neither an array of numbers nor built of plain values. kind: what it is, for messages."""

    kind: str


def pack(value: object) -> Any:
    """What `epcore.base.plain` takes. Whatever it is: what cannot travel becomes the name of its kind."""
    match value:
        case np.generic():
            array = np.asarray(value)
            return {"scalar": array} if array.dtype.kind in _NUMBERS else {"unknown": type(value).__name__}
        case None | bool() | int() | float() | str():
            return value if type(value) in (type(None), bool, int, float, str) else {"unknown": type(value).__name__}
        case np.ndarray():
            return {"array": value} if value.dtype.kind in _NUMBERS else {"unknown": f"array of {value.dtype}"}
        case tuple() | list():
            return {"tuple" if isinstance(value, tuple) else "list": [pack(each) for each in value]}
        case Mapping() if all(isinstance(key, str) for key in value):
            return {"mapping": {key: pack(each) for key, each in value.items()}}
    return {"unknown": type(value).__name__}


def unpack(packed: Any) -> Any:
    """The value; `Unknown` in the place of what could not travel. Raises ValueError for what `pack` does not give."""
    match packed:
        case {"scalar": np.ndarray() as array}:
            return array[()]
        case {"array": np.ndarray() as array}:
            return array
        case {"tuple": list(items)}:
            return tuple(unpack(each) for each in items)
        case {"list": list(items)}:
            return [unpack(each) for each in items]
        case {"mapping": dict(items)}:
            return {key: unpack(each) for key, each in items.items()}
        case {"unknown": str(kind)}:
            return Unknown(kind)
        case None | bool() | int() | float() | str():
            return packed
    raise ValueError("a value of an unknown kind")
