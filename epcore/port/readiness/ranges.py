"""Statistics of a layer over pictures that come one at a time, the percentile exact; and of a layer's parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from epcore.port.readiness.rounding import SMALLEST_NORMAL, TO_ZERO

PERCENTILE = 99.9


@dataclass(frozen=True)
class Range:
    """Values of one layer over all pictures.

    percentile: the 99.9th of |x|. subnormal: share of all values that are not zero and below half's smallest normal number,
    2^-14; to_zero: share of those that become zero in half in any case. spread: the largest |x| over the median of the
    channels' largest |x|, channels that are always zero left out.
    """

    minimum: float
    maximum: float
    percentile: float
    subnormal: float
    to_zero: float
    spread: float

    @property
    def largest(self) -> float:
        return max(-self.minimum, self.maximum)


class Observer:
    """Sees the same layer for a known number of pictures. Of |x| only the values from the percentile upwards are kept."""

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self.count = self.subnormal = self.to_zero = 0
        self.minimum, self.maximum = np.inf, -np.inf
        self.tail = np.empty(0, np.float32)
        self.channels = np.zeros(1, np.float32)

    def add(self, x: np.ndarray) -> None:
        """x (N,H,W,C), of one shape in every call."""
        size = np.abs(x)
        self.count += x.size
        self.minimum, self.maximum = min(self.minimum, float(x.min())), max(self.maximum, float(x.max()))
        self.subnormal += int(np.count_nonzero(size < SMALLEST_NORMAL)) - (zeros := int(np.count_nonzero(size == 0)))
        self.to_zero += int(np.count_nonzero(size <= TO_ZERO)) - zeros
        self.channels = np.maximum(self.channels, size.max(axis=(0, 1, 2)))
        total = self.pictures * x.size
        kept = total - _position(total)[0]
        pool = np.concatenate([self.tail, size.ravel()])
        self.tail = np.partition(pool, pool.size - kept)[-kept:] if pool.size > kept else pool

    def range(self) -> Range:
        """Of everything seen. Raises ValueError unless that was `pictures` times x."""
        low, fraction = _position(self.count)
        if self.tail.size != self.count - low:
            raise ValueError(f"statistics of {self.pictures} pictures were asked for before all were seen")
        ordered = np.sort(self.tail).astype(np.float64)
        upper = ordered[min(1, ordered.size - 1)]
        alive = self.channels[self.channels > 0]
        return Range(
            self.minimum,
            self.maximum,
            float(ordered[0] + fraction * (upper - ordered[0])),
            self.subnormal / self.count,
            self.to_zero / self.count,
            float(alive.max() / np.median(alive)) if alive.size else 1.0,
        )


def _position(count: int) -> tuple[int, float]:
    """Where the percentile lies among `count` ordered values, linearly interpolated: index below, fraction towards the next."""
    at = (count - 1) * PERCENTILE / 100
    return int(at), at - int(at)


@dataclass(frozen=True)
class ParameterRange:
    """All parameters of one layer: largest |w|; shares as of `Range`."""

    largest: float
    subnormal: float
    to_zero: float


def parameter_range(arrays: Iterable[np.ndarray]) -> ParameterRange | None:
    """None for a layer without parameters."""
    parts = [np.abs(array).ravel() for array in arrays]
    if not parts:
        return None
    size = np.concatenate(parts)
    alive = size[size > 0]
    subnormal, to_zero = np.count_nonzero(alive < SMALLEST_NORMAL), np.count_nonzero(alive <= TO_ZERO)
    return ParameterRange(float(size.max()), subnormal / size.size, to_zero / size.size)
