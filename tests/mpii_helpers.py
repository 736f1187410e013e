"""MPII's annotation file in small, with the real nesting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from epcore.data.mpii_annotations import MAT_NAME

EMPTY = np.zeros((0, 0))


def structs(*rows: dict[str, Any]) -> np.ndarray:
    """A 1 x n MATLAB struct array; every row has the same fields."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        for name, value in row.items():
            array[0, index][name] = value
    return array


def point(x: float, y: float, mpii_id: int, visible: Any = 1) -> dict[str, Any]:
    return {"x": float(x), "y": float(y), "id": mpii_id, "is_visible": visible}


def rectangle(*points: dict[str, Any], scale: Any = 1.2, x: float = 100, y: float = 80, **fields: Any) -> dict[str, Any]:
    return {
        "x1": 90, "y1": 20, "x2": 120, "y2": 60,
        "annopoints": structs({"point": structs(*points)}) if points else EMPTY,
        "scale": scale,
        "objpos": structs({"x": x, "y": y}),
    } | fields  # fmt: skip


def picture(name: str, *rectangles: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": structs({"name": name}),
        "annorect": structs(*rectangles) if rectangles else EMPTY,
        "frame_sec": EMPTY,
        "vididx": EMPTY,
    }


def write(folder: Path, pictures: list[dict[str, Any]], train: list[int]) -> Path:
    single_person = np.empty((len(pictures), 1), object)  # a cell array
    single_person[:, 0] = 1
    release = {
        "annolist": structs(*pictures),
        "img_train": np.array([train], np.uint8),
        "version": "12",
        "single_person": single_person,
    }
    path = folder / MAT_NAME
    savemat(path, {"RELEASE": structs(release)})
    return path
