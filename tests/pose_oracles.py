"""From pictures to levels and from maps to peaks by whole matrices and whole maps, as plainly as they can be written."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from epcore.pose import Geometry
from epcore.pose.resample import taps


def taps_as_matrix(size: int, target: int) -> np.ndarray:
    """(target,size): row i holds the weights of output i. Its window has to lie within the axis."""
    axis = taps(size, target)
    whole = np.zeros((target, size))
    assert axis.starts.min() >= 0
    assert axis.starts.max() + axis.count <= size
    for i, start in enumerate(axis.starts):
        whole[i, start : start + axis.count] = axis.weights[i]
    return whole


def values_by_matrices(picture: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(rows,columns,3) float64 before truncation: both axes as matrix products."""
    rows = taps_as_matrix(picture.shape[0], geometry.resized_height)
    columns = taps_as_matrix(picture.shape[1], geometry.resized_width)
    return np.einsum("ij,jkc,lk->ilc", rows, picture.astype(np.float64), columns, optimize=True)


def peaks_of_whole_maps(maps: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Places (J,) and values of the largest of each map (H,W,J): smooth all of it, look at all of it. sigma 0: no smoothing."""
    planes = np.ascontiguousarray(maps.transpose(2, 0, 1))
    if sigma:
        planes = gaussian_filter(planes, sigma, mode="nearest", axes=(1, 2))
    flat = planes.reshape(len(planes), -1)
    places = flat.argmax(axis=1)
    return places, flat[np.arange(len(flat)), places]
