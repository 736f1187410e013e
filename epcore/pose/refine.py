"""From the largest cell of a map to a place between cells. h: the map, m: its largest cell; along one axis where not said.

quarter    m + 1/4 sign(h[m+1] - h[m-1]): a quarter of a cell towards the larger neighbour (Newell et al. 2016, the stacked
           hourglass).
parabola   m + d, d = (L[-1] - L[+1]) / (2 (L[-1] - 2 L[0] + L[+1])), L = ln h around m: the top of the parabola through three
           logarithms. Exact for exp(-||P - G||^2 / sigma^2), the shape the network is trained to give (Equation 4), whose
           logarithm is a parabola along each axis.
dark       m - H^-1 g: one Newton step on L = ln h, h smoothed by a normal window as wide as the training's peaks; g and H by
           differences, g = (L[+1] - L[-1]) / 2, Hxx = (L[+2] - 2 L[0] + L[-2]) / 4, Hxy = (L[+1,+1] - L[+1,-1] - L[-1,+1] +
           L[-1,-1]) / 4 (Zhang et al. 2020, "Distribution-aware coordinate representation", the paper's reference 59). Their
           rescaling to the old maximum adds a constant to L and is left out.

Values of 1e-10 and less count as 1e-10, as theirs. At the border of the map (the outermost cell, for dark two), and where the
differences tell of no maximum, the cell's own middle is taken.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Method = Literal["release", "parabola", "dark", "quarter"]
METHODS: tuple[Method, ...] = get_args(Method)
PEAK = 2.0 / 46 / np.sqrt(2)  # standard deviation of the paper's last targets as a share of the map's side: sigma 2 of 46 cells
_LEAST = 1e-10
_REACH = 2  # cells that dark's differences see


def refine(maps: np.ndarray, peaks: np.ndarray, method: Method) -> np.ndarray:
    """maps (H,W,J), peaks (J,) cells in reading order -> (J,2) float64: x, y of each top from its cell's middle, in cells."""
    W = maps.shape[1]
    offsets = np.zeros((maps.shape[2], 2))
    for j, peak in enumerate(peaks):
        plane, y, x = maps[..., j], int(peak) // W, int(peak) % W
        if method == "dark":
            offsets[j] = _dark(plane, y, x)
            continue
        along = _parabola if method == "parabola" else _quarter
        offsets[j] = along(plane[y], x), along(plane[:, x], y)
    return offsets


def _quarter(line: np.ndarray, m: int) -> float:
    return 0.25 * float(np.sign(line[m + 1] - line[m - 1])) if 0 < m < line.size - 1 else 0.0


def _parabola(line: np.ndarray, m: int) -> float:
    if not 0 < m < line.size - 1:
        return 0.0
    before, here, after = np.log(np.maximum(line[m - 1 : m + 2].astype(np.float64), _LEAST))
    bend = before - 2 * here + after
    return float((before - after) / (2 * bend)) if bend < 0 else 0.0


def _dark(plane: np.ndarray, y: int, x: int) -> tuple[float, float]:
    H, W = plane.shape
    if not (_REACH <= y < H - _REACH and _REACH <= x < W - _REACH):
        return 0.0, 0.0
    blurred = _blurred(plane, y, x, PEAK * W)
    L = np.log(np.maximum(blurred, _LEAST))
    c = _REACH  # the middle of L
    gradient = np.array([L[c, c + 1] - L[c, c - 1], L[c + 1, c] - L[c - 1, c]]) / 2
    xx, yy = (L[c, c + 2] - 2 * L[c, c] + L[c, c - 2]) / 4, (L[c + 2, c] - 2 * L[c, c] + L[c - 2, c]) / 4
    xy = (L[c + 1, c + 1] - L[c + 1, c - 1] - L[c - 1, c + 1] + L[c - 1, c - 1]) / 4
    if not (xx < 0 and xx * yy - xy * xy > 0):
        return 0.0, 0.0
    step = -np.linalg.solve(np.array([[xx, xy], [xy, yy]]), gradient)
    dx, dy = np.clip(step, -_REACH, _REACH)
    return float(dx), float(dy)


def _blurred(plane: np.ndarray, y: int, x: int, sigma: float) -> np.ndarray:
    """The five by five cells around one, smoothed; beyond the border the map goes on as its last value."""
    radius = int(3 * sigma + 0.5)
    reach = radius + _REACH
    offsets = np.arange(-reach, reach + 1)
    rows, columns = (np.clip(at + offsets, 0, size - 1) for at, size in zip((y, x), plane.shape, strict=True))
    window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    band = np.zeros((2 * _REACH + 1, offsets.size))
    for k in range(2 * _REACH + 1):
        band[k, k : k + window.size] = window / window.sum()
    return band @ plane[np.ix_(rows, columns)].astype(np.float64) @ band.T
