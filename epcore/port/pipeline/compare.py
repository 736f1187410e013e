"""A port's x and keypoints beside the golden ones: whether they agree, what the port does otherwise, and what each part of the
way costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from epcore.port.compare import to_nhwc
from epcore.port.pipeline import keypoints, preprocessing
from epcore.port.store import Vectors
from epcore.pose.decode import decode
from epcore.pose.preprocess import PREPROCESSING, Geometry

Said = tuple[tuple[str, str], ...]  # (what is done otherwise, what is right)


@dataclass(frozen=True)
class Stage:
    """name: "x" or "points". cases: that were compared. largest: the error, in levels of grey or pixels of the picture.

    explanations: each of them alone gives all of the port's values; one that is empty: they agree; none: nothing explains them.
    """

    name: str
    cases: list[str]
    largest: float
    explanations: list[Said]

    @property
    def agrees(self) -> bool:
        return () in self.explanations


@dataclass(frozen=True)
class Share:
    """What a part of the way adds to the error of keypoints, pixels of the pictures: mean and largest over all keypoints."""

    part: str
    mean: float
    largest: float


def read_port(arrays: Mapping[str, np.ndarray], golden: Vectors) -> dict[str, dict[str, np.ndarray]]:
    """stage -> case -> array, in our layout. Raises ValueError where nothing fits, for another shape and for NaN."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for entry in golden.manifest["cases"]:
        for stage in ("x", "maps", "points"):
            key = f"{stage}/{entry['name']}"
            if key not in arrays or key not in golden.arrays:
                continue
            right, array = golden.arrays[key].shape, arrays[key]
            if len(right) == 3:
                fitted = to_nhwc(array, (1, *right), "NHWC")
                fitted = to_nhwc(array, (1, *right), "NCHW") if fitted is None and array.ndim == 4 else fitted
                fitted = array.transpose(1, 2, 0)[None] if fitted is None and array.ndim == 3 else fitted
                array = array if fitted is None else fitted[0]
            if array.shape != right:
                raise ValueError(f"{key} has shape {arrays[key].shape}, expected {right}")
            if not np.isfinite(array).all():
                raise ValueError(f"{key} holds NaN or infinite values")
            found.setdefault(stage, {})[entry["name"]] = array
    if not found:
        raise ValueError("the port's file has none of the arrays x/<case>, maps/<case> or points/<case>")
    return found


def places_of(golden: Vectors) -> dict[str, Geometry]:
    """Where each case's picture lies in the square."""
    names = Geometry.__dataclass_fields__
    return {entry["name"]: Geometry(**{name: entry[name] for name in names}) for entry in golden.manifest["cases"]}


def compare_pipeline(port: Mapping[str, Mapping[str, np.ndarray]], golden: Vectors) -> list[Stage]:
    """port: as `read_port` gives it. Points are judged by the port's own maps where those are given."""
    stages = []
    if "x" in port:
        manifest = golden.manifest
        levels = {name: preprocessing.Levels(golden.arrays[f"pictures/{name}"], manifest["size"]) for name in port["x"]}
        found = preprocessing.explain(port["x"], levels)
        std = PREPROCESSING[manifest["preprocessing"]][1]
        errors = [np.abs((x - golden.arrays[f"x/{name}"]) * std * 255).max() for name, x in port["x"].items()]
        said = [tuple(preprocessing.said_of(each, manifest["preprocessing"])) for each in found]
        stages.append(Stage("x", list(port["x"]), float(max(errors)), said))
    if "points" in port:
        given = {name: port.get("maps", {}).get(name, golden.arrays[f"maps/{name}"]) for name in port["points"]}
        places = places_of(golden)
        right = {name: places[name].to_picture(decode(maps)[0]) for name, maps in given.items()}
        largest = max(float(np.abs(points - right[name]).max()) for name, points in port["points"].items())
        stages.append(Stage("points", list(given), largest, keypoints.explain(port["points"], given, places)))
    return stages


def budget(
    port: Mapping[str, Mapping[str, np.ndarray]], golden: Vectors, network: Callable[[np.ndarray], np.ndarray]
) -> list[Share]:
    """Each part of the way made the port's, one after the other, from the picture on: what that changes in the keypoints.

    network: x (1,R,R,3) -> maps (1,h,w,J). Only of pictures of persons whose points the port gives; a stage that it does not
    give is ours.
    """
    persons = {entry["name"] for entry in golden.manifest["cases"] if entry["person"]}
    places = places_of(golden)
    changes: dict[str, list[np.ndarray]] = {"preprocessing": [], "network": [], "decoding": [], "all": []}
    for name, points in port.get("points", {}).items():
        if name not in persons:
            continue
        place = places[name]
        right = golden.arrays[f"points/{name}"]
        maps = golden.arrays[f"maps/{name}"]
        if name in port.get("x", {}):
            maps = network(port["x"][name][None].astype(np.float32))[0]
        after_x = place.to_picture(decode(maps)[0])
        after_network = place.to_picture(decode(port["maps"][name])[0]) if name in port.get("maps", {}) else after_x
        steps = [right, after_x, after_network, points.astype(np.float64)]
        for part, (before, after) in zip(changes, [*pairwise(steps), (right, steps[-1])], strict=True):
            changes[part].append(np.hypot(*(after - before).T))
    shares = []
    for part, found in changes.items():
        if found:
            distances = np.concatenate(found)
            shares.append(Share(part, float(distances.mean()), float(distances.max())))
    return shares
