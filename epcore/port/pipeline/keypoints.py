"""Which way of decoding maps gives a port's keypoints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from epcore.port.pipeline.otherwise import Choices, ways
from epcore.pose.peaks import find_peaks, window
from epcore.pose.preprocess import Geometry

NEAR = 2.0**-18  # of the picture's longer side: coordinates that went through float32 a few times

CHOICES: dict[str, dict[str, str]] = {
    "smoothing": {
        "smoothed": "",
        "maps are not smoothed": "a Gaussian of sigma 1 goes over the maps first (not in real-time mode)",
        "maps are smoothed with sigma 2": "sigma is 1",
    },
    "middle": {
        "the middle of the cell": "",
        "a cell's corner is taken": "a keypoint is the middle of its cell: + 0.5 in x and y",
    },
    "frame": {
        "the picture": "",
        "the padding around the picture is not taken off": "left and top of the picture in the square are subtracted",
        "fractions of the square are taken as those of the picture": "the picture fills a part of the square only",
        "coordinates are those of the square": "they are pixels of the picture",
        "coordinates are fractions of the square": "they are pixels of the picture",
        "the last pixel's middle is taken for the edge (size - 1)": "coordinates are divided by the size, edges are edges",
    },
    "axes": {"x, y": "", "coordinates are y, x": "they are x, y"},
    "whole": {
        "fractions": "",
        "coordinates are cut to whole numbers": "they have fractions",
        "coordinates are rounded to whole numbers": "they have fractions",
    },
}


def explain(
    port: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray], places: Mapping[str, Geometry]
) -> list[tuple[tuple[str, str], ...]]:
    """(what is done otherwise, what is right) of the ways with the fewest mistakes that give all of the port's points (J,2).

    maps: (h,w,J) that they were decoded from. Empty where no two mistakes explain them.
    """
    found: list[Choices] = []
    for way in ways(CHOICES):
        if found and len(way.said) > len(found[0].said):
            break
        if all(_agrees(points, _points(maps[name], places[name], way), places[name]) for name, points in port.items()):
            found.append(way)
    return [way.said for way in found]


def _agrees(port: np.ndarray, ours: np.ndarray, place: Geometry) -> bool:
    return bool(np.abs(port - ours).max() <= NEAR * max(place.width, place.height))


def _points(maps: np.ndarray, place: Geometry, way: Choices) -> np.ndarray:
    H, W, _ = maps.shape
    option = {name: list(CHOICES[name]).index(chosen) for name, chosen in way.chosen.items()}
    weights = (window(1.0), np.ones(1), window(2.0))[option["smoothing"]]
    peak, _ = find_peaks(maps, weights)
    cells = np.stack([peak % W, peak // W], axis=1) + (0.0 if option["middle"] else 0.5)
    fractions = cells / (W, H)
    match option["frame"]:
        case 1:
            points = fractions * max(place.width, place.height)
        case 2:
            points = fractions * (place.width, place.height)
        case 3:
            points = fractions * place.size
        case 4:
            points = fractions
        case 5:
            points = place.to_picture(cells / (W - 1, H - 1))
        case _:
            points = place.to_picture(fractions)
    points = points[:, ::-1] if option["axes"] else points
    result: np.ndarray = (lambda p: p, np.floor, np.round)[option["whole"]](points)
    return result
