"""One array of a port beside what it should be: brought to one layout, how far apart, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from epcore.backend import not_finite
from epcore.shapes import Shape, kernel_from_nchw, nchw_to_nhwc

FACTOR = 16  # how many times its own rounding a right port may differ by: sums in another order, fused multiply-adds
_EPSILON = {np.dtype(np.float16): 2.0**-10, np.dtype(np.float32): 2.0**-23, np.dtype(np.float64): 2.0**-23}


@dataclass(frozen=True)
class Difference:
    """largest: max |port - right|; relative: the same over max |right|; tolerance: what `largest` may be.

    place: index (n,y,x,c), or into the array, of the largest. share: of values beyond the tolerance. where: in words.
    """

    name: str
    largest: float
    relative: float
    tolerance: float
    place: tuple[int, ...]
    share: float
    where: str

    @property
    def agrees(self) -> bool:
        return self.largest <= self.tolerance


def tolerance(right: np.ndarray, rounding: float, dtype: np.dtype, relative: float | None = None) -> float:
    """What a right port of this dtype may differ by: FACTOR times our own float32 rounding, scaled to the port's precision.

    relative, if given, is used instead: times the largest value.
    """
    scale = float(np.abs(right).max())
    if relative is not None:
        return relative * scale
    epsilon = _EPSILON.get(dtype, 2.0**-23)
    return FACTOR * max(rounding, 2.0**-23 * scale) * epsilon / 2.0**-23


def compare(name: str, port: np.ndarray, right: np.ndarray, limit: float) -> Difference:
    """Both of the same shape. NaN and infinities are the largest difference there is."""
    error = np.abs(port.astype(np.float64) - right)
    error[~np.isfinite(error)] = np.inf
    flat = int(error.argmax())
    place = tuple(int(i) for i in np.unravel_index(flat, error.shape))
    largest = float(error.reshape(-1)[flat])
    scale = float(np.abs(right).max())
    wrong = error > limit
    relative = largest / scale if scale else (0.0 if largest == 0 else np.inf)
    return Difference(name, largest, relative, limit, place, float(wrong.mean()), _where(wrong, port))


def _where(wrong: np.ndarray, port: np.ndarray) -> str:
    """Which part of a map is wrong, if it is a part that tells something."""
    count = int(wrong.sum())
    if not count:
        return ""
    if infinite := not_finite(port):
        return f"{infinite} values are NaN or infinite"
    if wrong.ndim != 4:
        return f"{count} of {wrong.size} values"
    found = []
    N, H, W, C = wrong.shape
    rows, columns, channels = (np.flatnonzero(wrong.any(axis=axes)) for axes in ((0, 2, 3), (0, 1, 3), (0, 1, 2)))
    ring = _border_width(np.asarray(wrong.any(axis=(0, 3))))
    if len(rows) < H // 2 or len(columns) < W // 2:
        if len(rows) < H // 2:
            found.append(f"only row{_span(rows, H)}")
        if len(columns) < W // 2:
            found.append(f"only column{_span(columns, W)}")
    elif ring:
        found.append(f"only the outermost {ring} pixel{'s' if ring > 1 else ''} along the border")
    if len(channels) <= C // 2:
        found.append(f"only {len(channels)} of {C} channels: {_span(channels, C).strip('s ')}")
    images = np.flatnonzero(wrong.any(axis=(1, 2, 3)))
    if len(images) < N:
        found.append(f"only picture{_span(images, N)} of {N}")
    return "; ".join(found) if found else f"all over, {count / wrong.size:.0%} of the values"


def _border_width(wrong: np.ndarray) -> int:
    """How many pixels deep the wrong ones reach, 0 unless the inside of the map is right."""
    H, W = wrong.shape
    y, x = np.nonzero(wrong)
    depth = int(np.minimum(np.minimum(y, H - 1 - y), np.minimum(x, W - 1 - x)).max()) + 1
    return depth if 4 * depth <= min(H, W) else 0


def _span(indices: np.ndarray, size: int) -> str:
    """ " 3" or "s 0-15" or "s 1, 4, 7, ..."."""
    first, last = int(indices[0]), int(indices[-1])
    if len(indices) == 1:
        return f" {first}" + (" (the last)" if first == size - 1 > 0 else "")
    if last - first + 1 == len(indices):
        return f"s {first}-{last}"
    return "s " + ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")


def detect_layout(arrays: dict[str, np.ndarray], shapes: dict[str, Shape]) -> str:
    """NHWC or NCHW: what fits more of the arrays. shapes: what they are expected to be, NHWC."""
    votes = 0
    for name, array in arrays.items():
        right = shapes[name][-3:]
        moved = (right[2], right[0], right[1])
        if len(right) == 3 and array.ndim >= 3 and moved != right:
            votes += (array.shape[-3:] == right) - (array.shape[-3:] == moved)
    return "NHWC" if votes >= 0 else "NCHW"


def to_nhwc(array: np.ndarray, shape: Shape, layout: str) -> np.ndarray | None:
    """The array in NHWC, a missing axis of a single picture added; None where it is not of that shape. shape: NHWC."""
    if len(shape) == 4 and array.ndim == 3 and shape[0] == 1:
        array = array[None]
    if layout == "NCHW" and array.ndim == 4 and len(shape) == 4:
        array = nchw_to_nhwc(array)
    return array if array.shape == shape else None


def kernel_to_hwio(array: np.ndarray, shape: Shape, layout: str) -> np.ndarray | None:
    """A kernel, or its gradient, in our axes; None where it does not fit. shape: ours, of three axes for a depthwise one."""
    depthwise = len(shape) == 3
    if array.shape != shape and depthwise and array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]  # Keras' (kh,kw,C,1)
    if layout == "NCHW" and array.ndim == 4:
        array = kernel_from_nchw(array, depthwise=depthwise)
    return array if array.shape == shape else None
