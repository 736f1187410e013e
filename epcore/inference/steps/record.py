"""Records: a step of the program as a row of 64-bit words, with named and typed fields of its kind.

Rows of all kinds are as long as the longest; a kernel looks at its row through `viewer(dtype)`, as at a structured array of
NumPy, at no cost. All offsets are elements into the arena.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import float32, int64, types
from numba.np.numpy_support import from_dtype

from epcore.kernels.cpu.jit import released_kernel
from epcore.kernels.cpu.panels import Panels
from epcore.kernels.cpu.simd.generation import Values, instruction

INTEGER, NUMBER = np.dtype(np.int64), np.dtype(np.float64)

# A tensor: pixel (n, y, x) is at offset + n * image + (y * W + x) * pixel. pixel is larger than the channel count where the
# tensor is a slice of a concatenation.
TENSOR = np.dtype([("offset", INTEGER), ("image", INTEGER), ("pixel", INTEGER)])
ACTIVATION = np.dtype([("kind", INTEGER), ("parameter", NUMBER), ("alpha", INTEGER)])
PANELS = np.dtype([(name, INTEGER) for name in Panels._fields])

if TYPE_CHECKING:
    from epcore.graph import Node
    from epcore.inference.encode import Encoder
    from epcore.inference.fuse import Fuser
    from epcore.inference.step import Step

Field = tuple[str, np.dtype[Any]]
_HEAD: list[Field] = [("kind", INTEGER), ("tasks", INTEGER), ("y", TENSOR)]  # of every record
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
Y_OFFSET = 2  # the word of a row that holds y.offset


SIGNATURE = types.none(float32[::1], int64[::1], int64, int64, float32[::1])  # run(arena, row, task, thread, picture)


def step_kernel(function: Callable[..., None]) -> Any:
    """Compile the kernel of a kind: a function of SIGNATURE, which may hold code of all files here. (Any: Numba's type.)"""
    return released_kernel(sources=_SOURCES)(function)


def fields(*, integers: str = "", **others: np.dtype[Any]) -> list[Field]:
    """Fields of records: whole numbers by name, others with their types."""
    return [*((name, INTEGER) for name in integers.split()), *others.items()]


def record(*parts: Field) -> np.dtype[Any]:
    """The type of a kind's rows: kind, tasks, y, then these fields."""
    return np.dtype([*_HEAD, *parts])


def viewer(dtype: np.dtype[Any]) -> Callable[..., Any]:
    """For kernels: view(row) is the row as such a record."""
    kind = from_dtype(dtype)

    def view(typing_context: Any, row: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
            data = context.make_array(call.args[0])(context, builder, args[0]).data
            return builder.bitcast(data, context.get_value_type(kind))

        return kind(row), generate

    viewed: Callable[..., Any] = instruction(view)
    return viewed


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of record: its type, and the kernel run(arena, row, task, thread, picture) for one of its tasks, a `step_kernel`,
    compiled when a plan first has one."""

    name: str
    record: np.dtype[Any]
    run: Any


@dataclass(frozen=True, eq=False)
class Definition:
    """All that the compiler has to know of a type of step: encode(step, encoder) gives it its rows, of these kinds; fusions:
    the operators whose nodes become such a step, each with fuse(fuser, node) -> steps."""

    step: type[Step]
    encode: Callable[[Any, Encoder], None]
    kinds: tuple[Kind, ...] = ()
    fusions: Mapping[str, Callable[[Fuser, Node], list[Step]]] = field(default_factory=dict)
