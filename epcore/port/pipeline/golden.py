"""Golden vectors of the way around the network.

    pictures/<case>   (H,W,3) uint8, RGB, upright: where a port begins
    levels/<case>     (R,R,3) uint8: resized, truncated, centred on black
    x/<case>          (R,R,3) float32: the network's input
    maps/<case>       (h,w,J) float32: the network's confidence maps of x, where a port's decoding begins
    points/<case>     (J,2) float64: x, y of the keypoints, pixels of the picture
    scores/<case>     (J,) float64

The manifest has each case's place in the square (`Geometry`), and whether a person is in it. "spikes" has maps alone.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from epcore.base.arrays import to_numpy
from epcore.inference.engine import engine
from epcore.network import Network
from epcore.port.pipeline.cases import picture_cases, spikes
from epcore.port.store import Vectors
from epcore.port.vectors import FORMAT
from epcore.pose.decode import decode
from epcore.pose.preprocess import Geometry, fit_square, preprocess_pixels
from epcore.pose.skeleton import KEYPOINTS

KIND = "pipeline"
STAGES = ("levels", "x", "maps", "points", "scores")  # in the order in which a port computes them


def pipeline_vectors(model: Network, *, seed: int = 0) -> Vectors:
    """Of a network that predicts keypoints, with its weights, at its resolution. seed: of the pictures."""
    vectors = Vectors()
    cases: list[dict[str, Any]] = []
    compute, size = engine(model), model.resolution
    if not isinstance(size, int):
        raise ValueError(f"the network takes input of {size} pixels, expected a square")
    for case in picture_cases(seed):
        levels, geometry = fit_square(case.picture, size)
        x, _ = preprocess_pixels(case.picture, size, model.preprocessing)
        maps = to_numpy(compute(x).final)[0]
        vectors.arrays |= {f"pictures/{case.name}": case.picture, f"levels/{case.name}": levels, f"x/{case.name}": x[0]}
        cases.append(_with_keypoints(vectors, case.name, case.what, maps, geometry) | {"person": case.person})
    extra = spikes(len(KEYPOINTS), size, seed)
    geometry = Geometry.fit(extra.width, extra.height, size)
    cases.append(_with_keypoints(vectors, extra.name, extra.what, extra.maps, geometry) | {"person": False})
    vectors.manifest = {
        "epcore_format": FORMAT, "kind": KIND, "layout": "NHWC", "size": size, "preprocessing": model.preprocessing,
        "keypoints": list(KEYPOINTS), "seed": seed, "cases": cases,
    }  # fmt: skip
    return vectors


def _with_keypoints(vectors: Vectors, name: str, what: str, maps: np.ndarray, geometry: Geometry) -> dict[str, Any]:
    fractions, scores = decode(maps)
    points = geometry.to_picture(fractions)
    vectors.arrays |= {f"maps/{name}": maps.astype(np.float32), f"points/{name}": points, f"scores/{name}": scores}
    return {"name": name, "what": what, **asdict(geometry)}
