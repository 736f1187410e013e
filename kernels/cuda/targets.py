"""Training targets rendered on the GPU; what they are: `epcore.pose.encode`."""

from __future__ import annotations

from typing import Any

import numpy as np

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import MAX_ELEMENTS, TYPES, check_memory, check_shape, empty, flat, launch
from epcore.kernels.cuda.loader import Source

SOURCE = Source("targets", ("confidence_maps<{T}>", "affinity_fields<{T}>"))


def confidence_maps(points: Array, known: Array, size: int, sigma: float, dtype: Any = np.float32) -> Array:
    """points (N,P,J,2) float64 in pixels of the map, known (N,P,J) bool, sigma in pixels -> (N,size,size,J).

    Raises TypeError or ValueError for other arrays, a sigma that is not positive or a map that is too large.
    """
    if not sigma > 0:
        raise ValueError(f"confidence_maps: sigma is {sigma}, expected a positive number of pixels")
    N, P, J = _check("confidence_maps", points, known)
    maps = _maps("confidence_maps", (N, size, size, J), points, dtype)
    T = TYPES[maps.dtype.name]
    arguments = points, known, maps, np.float64(1 / sigma**2), N, P, J, size
    launch(SOURCE, T, f"confidence_maps<{T}>", flat(maps.size, 1), *arguments)
    return maps


def affinity_fields(points: Array, known: Array, limbs: Array, size: int, width: float, dtype: Any = np.float32) -> Array:
    """points and known as above, limbs (L,2) int32, width in pixels of the map -> (N,size,size,2L).

    Raises TypeError or ValueError for other arrays, a width that is not positive or a field that is too large.
    """
    if not width > 0:
        raise ValueError(f"affinity_fields: width is {width}, expected a positive number of pixels")
    N, P, J = _check("affinity_fields", points, known)
    check_memory("affinity_fields", "limbs", limbs)
    if limbs.dtype != np.int32 or limbs.ndim != 2 or limbs.shape[1] != 2:
        raise ValueError(f"affinity_fields: limbs is {limbs.dtype} {limbs.shape}, expected int32 (L,2)")
    L = limbs.shape[0]
    fields = _maps("affinity_fields", (N, size, size, 2 * L), points, dtype)
    T = TYPES[fields.dtype.name]
    arguments = points, known, limbs, fields, np.float64(width / 2), N, P, J, L, size
    launch(SOURCE, T, f"affinity_fields<{T}>", flat(fields.size // 2, 1), *arguments)
    return fields


def _check(op: str, points: Array, known: Array) -> tuple[int, int, int]:
    """N, P, J."""
    for name, array, dtype in (("points", points, np.float64), ("known", known, np.bool_)):
        check_memory(op, name, array)
        if array.dtype != dtype:
            raise TypeError(f"{op}: {name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    if points.ndim != 4 or points.shape[3] != 2:
        raise ValueError(f"{op}: points has shape {points.shape}, expected (N,P,J,2)")
    check_shape(op, "known", known, points.shape[:3])
    N, P, J, _ = points.shape
    return N, P, J


def _maps(op: str, shape: tuple[int, ...], like: Array, dtype: Any) -> Array:
    if np.dtype(dtype).name not in TYPES:
        raise TypeError(f"{op}: dtype is {np.dtype(dtype)}, expected float32 or float64")
    if shape[1] < 1 or np.prod(shape, dtype=np.int64) > MAX_ELEMENTS:
        raise ValueError(f"{op}: a map of {shape} was asked for, the CUDA kernels write 1 to {MAX_ELEMENTS} elements")
    return empty(shape, like, dtype)
