"""What every launcher does: check the arrays, choose the vector width, lay out the grid, launch."""

from __future__ import annotations

from typing import Any

import numpy as np

from epcore.base.arrays import Array, array_module, is_cupy
from epcore.kernels.cuda import loader
from epcore.kernels.cuda.loader import Source

TYPES = {"float32": "float", "float64": "double"}
THREADS = 256
MAX_BLOCKS = 2**16
MAX_ELEMENTS = 2**31 - 2**27  # kernels count in int, up to one grid stride (2^26 elements) past the end
FILL = 1024  # blocks that keep the largest GPU busy

Grid = tuple[int, ...]
Layout = tuple[Grid, Grid]

# What a product may do to its result on the way out: the number in common.cuh and its parameter.
Activation = tuple[int, float]
LINEAR: Activation = (0, 0.0)


def activation_code(op: str | None, *, beta: float = 1.25, maximum: float | None = None) -> Activation:
    """How the kernels know an activation. Raises ValueError for an operator that is none."""
    codes = {None: LINEAR, "swish": (1, 1.0), "eswish": (1, beta), "sigmoid": (2, 0.0),
             "relu": (3, float("inf") if maximum is None else maximum)}  # fmt: skip
    if op not in codes:
        raise ValueError(f"activation {op!r}: expected one of {', '.join(str(name) for name in codes)}")
    return codes[op]


def check(op: str, **arrays: Array | None) -> str:
    """The C++ type of the arrays. None is skipped.

    Raises TypeError or ValueError, naming the array, unless all are arrays of one module on the current device, C-contiguous,
    float32 or float64, of one dtype, not empty and small enough for the kernels' counters.
    """
    first: tuple[str, Any] | None = None
    for name, array in arrays.items():
        if array is None:
            continue
        check_memory(op, name, array)
        if first is None:
            first = name, array.dtype
        if array.dtype.name not in TYPES:
            raise TypeError(f"{op}: {name} has dtype {array.dtype}, the CUDA kernels take float32 or float64")
        if array.dtype != first[1]:
            raise TypeError(f"{op}: {name} has dtype {array.dtype}, expected {first[1]} as {first[0]}")
    assert first is not None
    return TYPES[first[1].name]


def check_memory(op: str, name: str, array: Array) -> None:
    """The part of `check` that holds for any dtype."""
    if loader.on_gpu():
        cupy = loader.require_cupy()
        if not isinstance(array, cupy.ndarray):
            raise TypeError(f"{op}: {name} is a {type(array).__name__}, the CUDA kernels take CuPy arrays")
        if array.device.id != loader.current_device():
            raise ValueError(f"{op}: {name} is on GPU {array.device.id}, the current one is {loader.current_device()}")
    elif not isinstance(array, np.ndarray):
        raise TypeError(f"{op}: {name} is a {type(array).__name__}, expected a NumPy array")
    if not array.flags.c_contiguous:
        raise ValueError(f"{op}: {name} is not C-contiguous: pass a contiguous copy")
    if array.size == 0:
        raise ValueError(f"{op}: {name} is empty: its shape is {array.shape}")
    if array.size > MAX_ELEMENTS:
        raise ValueError(f"{op}: {name} has {array.size} elements, the CUDA kernels take at most {MAX_ELEMENTS}")


def check_shape(op: str, name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the array has this shape."""
    if array.shape != shape:
        raise ValueError(f"{op}: {name} has shape {array.shape}, expected {shape}")


def check_axes(op: str, name: str, array: Array, axes: str = "NHWC") -> None:
    """Raises ValueError unless the array has this many axes."""
    if array.ndim != len(axes):
        raise ValueError(f"{op}: {name} has shape {array.shape}, expected ({','.join(axes)})")


def empty(shape: tuple[int, ...], like: Array, dtype: Any = None) -> Array:
    """An uninitialised array of `like`'s module, of its dtype unless another is given."""
    array: Array = array_module(like).empty(shape, like.dtype if dtype is None else dtype)
    return array


def address(array: Any) -> int:
    return int(array.data.ptr if is_cupy(array) else array.ctypes.data)


def width(channels: int, *arrays: Array | None) -> int:
    """Channels a thread loads at once: 4 where that divides all runs and every float32 array starts at 16 bytes, else 1."""
    given = [array for array in arrays if array is not None]
    vectors = given[0].dtype == np.float32 and channels % 4 == 0
    return 4 if vectors and all(address(array) % (4 * array.itemsize) == 0 for array in given) else 1


def launch(source: Source, T: str, kernel: str, layout: Layout, *arguments: Any, shared_bytes: int = 0) -> None:
    """Launch `kernel` of `source` on the current stream. Arguments: arrays, None (a null pointer), ints, NumPy scalars."""
    values = tuple(
        np.uintp(0) if argument is None else np.int32(argument) if isinstance(argument, int) else argument
        for argument in arguments
    )
    loader.function(source, T, kernel)(*layout, values, shared_mem=shared_bytes)


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def flat(elements: int, V: int) -> Layout:
    """One thread a pack of V elements; the kernels stride over what the grid does not reach."""
    return (min(ceil_div(elements, V * THREADS), MAX_BLOCKS),), (THREADS,)


def rows(count: int, C: int, V: int, samples: int = 1) -> Layout:
    """Blocks of (channel packs, rows) over `count` rows of C channels, about four rows a thread."""
    block = _block(C, V)
    return (ceil_div(C, V * block[0]), min(ceil_div(count, 4 * block[1]), MAX_BLOCKS - 1), samples), block


def slices(count: int, C: int, V: int, samples: int = 1) -> tuple[Layout, int]:
    """Layout for `column_partials` (grid axis 1 counts the slices) and the rows a slice has."""
    block = _block(C, V)
    tiles = ceil_div(C, V * block[0])
    wanted = min(ceil_div(count, 8 * block[1]), max(FILL // (tiles * samples), 1))
    per_slice = ceil_div(count, wanted)
    return ((tiles, ceil_div(count, per_slice), samples), block), per_slice


def merge(C: int, samples: int = 1) -> Layout:
    """Layout for `merge_slices`."""
    return (ceil_div(C, 32), samples), (32, 16)


def _block(C: int, V: int) -> Grid:
    packs = min(C // V, 128)
    return packs, THREADS // packs
