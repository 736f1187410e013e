"""What a device stores in place of float32: float16, or int8 with scales.

float16     round to nearest, ties to even; beyond 65,520 infinity; below 2^-14 fewer bits, or zero on devices that flush
int8 kernel symmetric, one scale an output channel:      s = max|w| / 127,          q = round(w / s) in -127..127
int8 map    affine, one scale a tensor:                  s = (high - low) / 255,    q = round(x / s) + z in -128..127
            with low <= 0 <= high the observed range and z = round(-128 - low / s), so that 0 is exact;
            or symmetric:                                s = max|x| / 127,          q = round(x / s) in -127..127

Ties round to even. What comes back is the value the integer stands for, in float32: the experiment computes with those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from epcore.ops import OPS
from epcore.port.readiness.device import DeviceNetwork
from epcore.sums import mean_in_double, sum_in_double

LARGEST = 65504.0  # of float16
OVERFLOW = 65520.0  # from here on float16 rounds to infinity
SMALLEST_NORMAL = 2.0**-14
TO_ZERO = 2.0**-25  # up to here float16 rounds to zero even with subnormal numbers


def to_half(x: np.ndarray, *, flush: bool = False) -> np.ndarray:
    """Any float -> the nearest float16 values, as float32. flush: subnormal results become zero."""
    with np.errstate(over="ignore"):
        half = x.astype(np.float16).astype(np.float32)
    return np.where(np.abs(half) < SMALLEST_NORMAL, np.float32(0), half) if flush else half


def quantize_kernel(w: np.ndarray, axis: int) -> np.ndarray:
    """Symmetric int8 with one scale for each index of `axis`, back in float32. A channel of zeros stays zero."""
    others = tuple(each for each in range(w.ndim) if each != axis)
    scale = np.abs(w).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    rounded: np.ndarray = np.clip(np.rint(w / scale), -127, 127) * scale
    return rounded


def quantize(x: np.ndarray, low: float, high: float, *, affine: bool = True) -> np.ndarray:
    """int8 with one scale for the observed range low..high, back in float32. Values outside are clipped to it."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return np.zeros_like(x)
    if not affine:
        scale = np.float32(max(-low, high) / 127)
        return np.clip(np.rint(x / scale), -127, 127) * scale
    scale = np.float32((high - low) / 255)
    zero = np.float32(np.rint(-128 - low / float(scale)))
    return (np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale


def float32_mean(x: np.ndarray) -> np.ndarray:
    """x (N,H,W,C) -> mean over H,W (N,1,1,C)."""
    return mean_in_double(x, (1, 2), keepdims=True).astype(x.dtype)


def tree_mean(x: np.ndarray) -> np.ndarray:
    """The same, the sum stored in float16 before it is divided: the best that adding in float16, pair by pair, can give."""
    return to_half(sum_in_double(x, (1, 2), keepdims=True).astype(x.dtype)) / np.float32(x.shape[1] * x.shape[2])


def chain_mean(x: np.ndarray) -> np.ndarray:
    """The same, one float16 accumulator a channel taking pixel after pixel, row by row."""
    N, H, W, C = x.shape
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = x.astype(np.float16).reshape(N, H * W, C)
        total = np.add.accumulate(pixels, axis=1, dtype=np.float16)[:, -1]  # a reduction could sum in pairs
    return (total.astype(np.float32) / np.float32(H * W))[:, None, None]


MEANS = {"float32": float32_mean, "tree": tree_mean, "chain": chain_mean}


class Rounding(Protocol):
    """A way to store parameters and maps."""

    @property
    def sums(self) -> str:
        """A key of `MEANS`: how means over H,W are taken."""

    def parameters(self, network: DeviceNetwork) -> dict[str, np.ndarray]:
        """All of the network's, rounded."""

    def value(self, name: str, x: np.ndarray) -> np.ndarray:
        """The output of the node of this name (or the input), rounded."""


@dataclass(frozen=True)
class Half:
    """Everything in float16: kernels, biases, maps. flush: subnormal numbers become zero. sums: a key of `MEANS`."""

    flush: bool = False
    sums: str = "float32"

    def parameters(self, network: DeviceNetwork) -> dict[str, np.ndarray]:
        return {name: to_half(array, flush=self.flush) for name, array in network.parameters.items()}

    def value(self, name: str, x: np.ndarray) -> np.ndarray:
        return to_half(x, flush=self.flush)


@dataclass(frozen=True)
class Int8:
    """Kernels and maps in int8; biases (int32 on devices), slopes and batch norms that were kept stay float32.

    ranges: node -> (least, largest value seen).
    """

    ranges: Mapping[str, tuple[float, float]]
    affine: bool = True
    sums: str = "float32"

    def parameters(self, network: DeviceNetwork) -> dict[str, np.ndarray]:
        arrays = dict(network.parameters)
        for node in network.nodes.values():
            if (axes := OPS[node.op].kernel_axes) and (kernel := node.parameters[0]) is not None:
                arrays[kernel] = quantize_kernel(network.parameters[kernel], axes.y)
        return arrays

    def value(self, name: str, x: np.ndarray) -> np.ndarray:
        return quantize(x, *self.ranges[name], affine=self.affine)
