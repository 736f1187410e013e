"""How pictures are resized elsewhere, beside the release's way: what a port may have done instead.

Each takes (H,W,3) uint8 and gives (height,width,3) float64 grey levels 0 to 255, not yet whole numbers where the library does
not make them so. Sources: the documentation of Pillow (`Image.resize`), OpenCV (`resize`) and PyTorch (`interpolate`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from epcore.pose.resample import resample

Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]

RELEASE = "a Gaussian against aliasing, then linear"


def release(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`epcore.pose.resample`."""
    y = np.empty((*size, 3))
    resample(picture, size, None, y)
    return y


def _separable(weights: Callable[[int, int], np.ndarray]) -> Resize:
    """weights(n, t) -> (t,n): along rows and columns alike."""

    def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        rows, columns = weights(picture.shape[0], size[0]), weights(picture.shape[1], size[1])
        resized: np.ndarray = np.einsum("ih,hwc->iwc", rows, picture.astype(np.float64), optimize=True)
        return np.asarray(np.einsum("jw,iwc->ijc", columns, resized, optimize=True))

    return resize


def _linear(places: np.ndarray, n: int) -> np.ndarray:
    """(t,n): values between the two neighbours of each place, the border repeated."""
    weights = np.zeros((len(places), n))
    places = np.clip(places, 0, n - 1)
    low = np.minimum(places.astype(int), max(n - 2, 0))
    each = np.arange(len(places))
    np.add.at(weights, (each, low), 1 - (places - low))
    np.add.at(weights, (each, np.minimum(low + 1, n - 1)), places - low)
    return weights


def _half_pixel(n: int, t: int) -> np.ndarray:
    return _linear((np.arange(t) + 0.5) * n / t - 0.5, n)


def _corners(n: int, t: int) -> np.ndarray:
    return _linear(np.arange(t) * (n - 1) / max(t - 1, 1), n)


def _asymmetric(n: int, t: int) -> np.ndarray:
    return _linear(np.arange(t) * n / t, n)


def _nearest(n: int, t: int) -> np.ndarray:
    """The scale as OpenCV computes it, which decides where a place is a whole number."""
    return np.asarray(np.eye(n)[np.minimum((np.arange(t) * (1 / (t / n))).astype(int), n - 1)])


def _nearest_in_single(n: int, t: int) -> np.ndarray:
    return np.asarray(np.eye(n)[np.minimum((np.arange(t, dtype=np.float32) * np.float32(n / t)).astype(int), n - 1)])


def _cubic(n: int, t: int) -> np.ndarray:
    """Keys' cubic of a = -0.75 over four neighbours, the border repeated."""
    places = (np.arange(t) + 0.5) * n / t - 0.5
    low, weights = np.floor(places).astype(int), np.zeros((t, n))
    for k in range(-1, 3):
        d = np.abs(places - low - k)
        near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3
        np.add.at(weights, (np.arange(t), np.clip(low + k, 0, n - 1)), np.where(d <= 1, near, far))
    return weights


def _area(n: int, t: int) -> np.ndarray:
    """What of each input value lies under an output value; where it grows, linear between the edges that it lies across."""
    if t > n:
        places = np.arange(t)
        low = np.floor(places * (n / t)).astype(int)
        beyond = (places + 1) - (low + 1) * (t / n)
        return _linear(low + np.where(beyond > 0, beyond - np.floor(beyond), 0), n)
    edges = np.arange(t + 1) * n / t
    values = np.arange(n)
    under = np.minimum(edges[1:, None], values + 1) - np.maximum(edges[:-1, None], values)
    weights = np.clip(under, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _triangle(n: int, t: int) -> np.ndarray:
    """Linear, as wide as an output value is: PyTorch's antialias=True, not rounded in between."""
    scale = max(n / t, 1)
    centres = (np.arange(t)[:, None] + 0.5) * n / t - 0.5
    weights = np.clip(1 - np.abs(np.arange(n) - centres) / scale, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _pillow(resampling: Image.Resampling) -> Resize:
    def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        resized = Image.fromarray(picture).resize((size[1], size[0]), resampling)
        return np.asarray(resized, np.float64)

    return resize


RESIZES: dict[str, Resize] = {
    RELEASE: release,
    "linear without anything against aliasing (OpenCV's INTER_LINEAR, PyTorch's bilinear)": _separable(_half_pixel),
    "linear, the corners' middles kept in place (align_corners=True)": _separable(_corners),
    "linear, pixels counted from their corners (no half pixel)": _separable(_asymmetric),
    "cubic without anything against aliasing (OpenCV's INTER_CUBIC, PyTorch's bicubic)": _separable(_cubic),
    "nearest neighbour": _separable(_nearest),
    "nearest neighbour, places in float32": _separable(_nearest_in_single),
    "means over areas (OpenCV's INTER_AREA)": _separable(_area),
    "linear with a triangle as wide as an output pixel (PyTorch's antialias=True)": _separable(_triangle),
    "Pillow's BILINEAR": _pillow(Image.Resampling.BILINEAR),
    "Pillow's BICUBIC": _pillow(Image.Resampling.BICUBIC),
    "Pillow's LANCZOS": _pillow(Image.Resampling.LANCZOS),
    "Pillow's BOX": _pillow(Image.Resampling.BOX),
}
