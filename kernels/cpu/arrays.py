"""The arrays the CPU kernels take and give: what they refuse, how outputs are allocated, how few channels are handled.

Kernels work on blocks of LANES channels; where C is no multiple of LANES the last block overlaps the one before it, which
computes a few values twice and needs no masks. Fewer channels than LANES (none in the paper's networks) are widened.
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.processor import LANES


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Uninitialised float32 array that starts on a cache line, so that a vector of a whole line touches one, not two."""
    size = 1
    for n in shape:
        size *= n
    room = np.empty(size + 16, np.float32)
    skip = -room.ctypes.data % 64 // 4
    return room[skip : skip + size].reshape(shape)


def pad(x: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    """x (N,H,W,C) float32 with zero rows and columns (before, after) it: x itself where there are none."""
    (top, bottom), (left, right) = rows, columns
    if not (top or bottom or left or right):
        return x
    N, H, W, C = x.shape
    padded = empty((N, top + H + bottom, left + W + right, C))
    padded[:, :top] = padded[:, top + H :] = 0.0  # margins only: all of it would be written twice
    middle = padded[:, top : top + H]
    middle[:, :, :left] = middle[:, :, left + W :] = 0.0
    middle[:, :, left : left + W] = x
    return padded


def check(op: str, **arrays: np.ndarray | None) -> None:
    """Refuse what the kernels cannot take. None stands for an optional array and passes.

    Raises TypeError for anything but float32 NumPy arrays and ValueError for empty or not C-contiguous ones.
    """
    for name, array in arrays.items():
        if array is None:
            continue
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{op}: {name} is a {type(array).__name__}, expected a NumPy array")
        if array.dtype != np.float32:
            raise TypeError(f"{op}: {name} is {array.dtype}, the cpu kernels take float32 (the reference takes any float)")
        if array.size == 0:
            raise ValueError(f"{op}: {name} has shape {array.shape}, expected no empty axis")
        if not array.flags.c_contiguous:
            raise ValueError(f"{op}: {name} is not C-contiguous, expected np.ascontiguousarray({name})")


def check_gradient(op: str, dy: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse a dy the kernels cannot take, or one that has not the shape of the output."""
    check(op, dy=dy)
    if dy.shape != shape:
        raise ValueError(f"{op}: dy has shape {dy.shape}, expected {shape} as the output")


def widen(array: np.ndarray) -> np.ndarray:
    """The array itself, or a copy with zeros appended to the last axis where it is shorter than LANES."""
    missing = LANES - array.shape[-1]
    return array if missing <= 0 else np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])


def narrow(array: np.ndarray, channels: int) -> np.ndarray:
    """Undo `widen` on a result."""
    return array if array.shape[-1] == channels else np.ascontiguousarray(array[..., :channels])


def blocks(channels: int) -> int:
    """Number of vectors that cover this many channels."""
    return (channels + LANES - 1) // LANES


def unblock(array: np.ndarray, channels: int) -> np.ndarray:
    """(..., blocks * LANES), one vector after the other without overlap, -> (..., channels): the last block's first lanes
    repeat channels of the block before it and are left out."""
    spare = array.shape[-1] - channels
    if spare == 0:
        return array
    last = array.shape[-1] - LANES
    return np.concatenate((array[..., :last], array[..., last + spare :]), axis=-1)
