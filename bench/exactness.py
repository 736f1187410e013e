"""Errors of the published networks in float32, by backend, on the golden inputs and on pictures with large flat areas.

EPCORE_DATA=FOLDER python bench/exactness.py        largest |float32 - float64| over all maps
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import epcore
from epcore.pose.preprocess import normalize


def flat_pictures(size: int) -> dict[str, np.ndarray]:
    """Name -> x (1,size,size,3): one grey, noise between black bars, rectangles of plain colours, a black bar on white."""
    grey = np.full((size, size, 3), 114, np.uint8)
    bars, shapes, white = np.zeros_like(grey), np.full_like(grey, (31, 97, 203)), np.full_like(grey, 255)
    bars[size // 3 : 2 * size // 3] = np.random.default_rng(5).integers(0, 256, (2 * size // 3 - size // 3, size, 3))
    shapes[size // 11 : 2 * size // 5, size // 4 : size // 3] = 201, 13, 77
    shapes[size // 2 : 4 * size // 5, size // 7 : 5 * size // 7] = 9, 250, 123
    white[size // 4 : 2 * size // 3, 4 * size // 9 : size // 2] = 0
    pictures = {"grey": grey, "noise between black bars": bars, "plain rectangles": shapes, "bar on white": white}
    return {name: normalize(picture[None], "imagenet") for name, picture in pictures.items()}


def errors(variant: str, folder: Path) -> dict[str, dict[str, float]]:
    """Picture -> backend -> largest error of any map."""
    single, double = (epcore.EfficientPose(variant) for _ in range(2))
    for model in (single, double):
        epcore.load_weights(model, folder / f"release/EfficientPose{variant}.h5")
    double.astype(np.float64)
    plan = epcore.compile(single)
    with np.load(folder / f"golden/EfficientPose{variant}.npz") as golden:
        pictures = {f"golden {name.partition('/')[0]}": golden[name] for name in golden.files if name.endswith("/x")}
    found: dict[str, dict[str, float]] = {}
    for name, x in (pictures | flat_pictures(single.resolution)).items():
        exact, maps = double.run(x.astype(np.float64)), {}
        for backend in ("reference", "cpu"):
            with epcore.use_backend(backend):
                maps[backend] = single.run(x)
        outputs = plan(x)
        maps["plan"] = {label: getattr(outputs, label) for label in exact}
        found[name] = {
            backend: max(float(np.abs(each[label] - exact[label]).max()) for label in exact) for backend, each in maps.items()
        }
    return found


def main() -> None:
    folder = os.environ.get("EPCORE_DATA")
    if not folder:
        sys.exit("EPCORE_DATA names the folder of published models and golden outputs")
    print("| network | picture | reference | cpu | plan |\n| --- | --- | ---: | ---: | ---: |")
    for variant in ("RT", "I"):
        for name, row in errors(variant, Path(folder)).items():
            print(f"| {variant} | {name} | " + " | ".join(f"{error:.1e}" for error in row.values()) + " |")


if __name__ == "__main__":
    main()
