"""Pictures and maps whose golden vectors tell the mistakes of pipelines apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from epcore.data.synthetic import SyntheticFigures

GREY = 200


@dataclass(frozen=True)
class PictureCase:
    """picture (H,W,3) uint8, RGB, upright. what: why it is there. person: somebody is in it, whose keypoints mean something."""

    name: str
    what: str
    picture: np.ndarray
    person: bool = False


def picture_cases(seed: int) -> list[PictureCase]:
    """Figures in pictures that shrink, grow, are higher or wider than they are long by an odd number of pixels; noise; an even
    grey; and lines, whose images are the taps of the resize."""
    rng = np.random.default_rng(seed)
    records = [SyntheticFigures(3, seed=seed, split="test", size=size).record(i) for i, size in enumerate((420, 300, 90))]
    figures = [np.asarray(record.image) for record in records]
    noise = rng.integers(0, 256, (97, 64, 3), np.uint8)
    grey = np.full((301, 301, 3), GREY, np.uint8)
    lines = np.zeros((301, 401, 3), np.uint8)
    lines[::43] = lines[:, ::57] = 255
    return [
        PictureCase("wide", "a figure, 420x331: shrinks, padded above and below by odd numbers", figures[0][44:375], True),
        PictureCase("high", "a figure, 201x300: shrinks, padded left and right", figures[1][:, 50:251], True),
        PictureCase("small", "a figure, 90x90: grows", figures[2], True),
        PictureCase("noise", "64x97: nothing but edges", noise),
        PictureCase("grey", f"all {GREY}: a level that weights summing to less than 1 lose when levels are truncated", grey),
        PictureCase("lines", "white lines on black: what becomes of one is the kernel of the resize", lines),
    ]


@dataclass(frozen=True)
class MapsCase:
    """maps (H,W,J) float32 of a picture of width x height pixels."""

    name: str
    what: str
    maps: np.ndarray
    width: int
    height: int


def spikes(joints: int, size: int, seed: int) -> MapsCase:
    """Each map has a broad hill and, elsewhere, a higher single pixel: smoothed, the hill wins. The places are seeded."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    maps = np.empty((size, size, joints), np.float32)
    for joint in range(joints):
        (hy, hx), (sy, sx) = rng.integers(4, size // 2 - 4, 2), rng.integers(size // 2 + 4, size - 4, 2)
        maps[..., joint] = 0.6 * np.exp(-((x - hx) ** 2 + (y - hy) ** 2) / (2 * 3.0**2))
        maps[sy, sx, joint] = 0.9
    return MapsCase("spikes", "a hill and a higher single pixel in every map: smoothing decides", maps, 3 * size // 2, size)
