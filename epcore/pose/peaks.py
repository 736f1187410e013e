"""The largest value of each map, of the map itself or smoothed, without writing smoothed maps.

A smoothed value is an average of the values in its window, so it is no larger than the largest of them. One pass over the maps
finds the largest value of every tile; then only tiles are smoothed whose surroundings reach as high as the best smoothed value
so far, beginning with the tile of the highest value: around a figure's joint, a handful.

What is smoothed is smoothed as `scipy.ndimage.gaussian_filter(plane, sigma, mode="nearest")` does it, to the last bit: in
double, pairs of the same distance added first, the farthest first, columns before rows, each rounded to the maps' type.
"""

from __future__ import annotations

import numpy as np

from epcore.kernels.cpu.jit import inlined, released_kernel
from epcore.kernels.cpu.side_by_side import Job, compile_side_by_side

TILE = 16  # pixels; no less than the radius of a window, whose surroundings are the eight tiles around


def window(sigma: float) -> np.ndarray:
    """Half of SciPy's window, cut at four sigma: (radius + 1,) float64, from the centre outwards."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * offsets**2)
    half: np.ndarray = (weights / weights.sum())[radius:]
    return half


def find_peaks(maps: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """maps (H,W,J) float32 or float64 -> the largest value of each map: where it is, (J,) int64 in reading order, the first of
    equal ones, and the value, (J,) of the maps' type. A map that holds NaN or infinite values gives NaN (at 0).

    weights: from `window`, of a radius of TILE at most; of one weight: no smoothing.
    """
    H, W, J = maps.shape
    flat = np.ascontiguousarray(maps).reshape(H, W * J).view()
    flat.flags.writeable = False  # Numba compiles anew for arrays that may be written
    places, values = np.zeros(J, np.int64), np.empty(J, maps.dtype)
    _find(flat, weights, places, values)
    return places, values


def job() -> Job:
    """The kernel for a plan's maps, float32."""
    flat, places, values = np.zeros((1, 1), np.float32), np.zeros(1, np.int64), np.zeros(1, np.float32)
    flat.flags.writeable = False
    return Job.like(_find, (flat, window(1), places, values), __name__, compile_kernel.__name__)


def compile_kernel() -> None:
    """For the processes that help to compile."""
    compile_side_by_side([job()])


@inlined
def _tile_maxima(flat: np.ndarray, y: int, height: int, largest: np.ndarray, wrong: np.ndarray) -> None:
    """largest (W * J,) = the largest of these rows, column by column; wrong += 0 where all are finite, NaN elsewhere."""
    for i in range(largest.size):
        largest[i] = flat[y, i]
    last = y + height - 1
    for line in range(y, y + height, 4):  # four rows at once: so it is that LLVM makes vectors of the comparisons
        rows = flat[line], flat[min(line + 1, last)], flat[min(line + 2, last)], flat[min(line + 3, last)]
        for i in range(largest.size):
            a, b, c, d, e = rows[0][i], rows[1][i], rows[2][i], rows[3][i], largest[i]
            wrong[i] += ((a - a) + (b - b)) + ((c - c) + (d - d))
            a = a if a > b else b
            c = c if c > d else d
            a = a if a > c else c
            largest[i] = a if a > e else e


@inlined
def _weighted(lines: np.ndarray, start: int, step: int, weights: np.ndarray, out: np.ndarray) -> None:
    """out[i] = the weighted sum of lines[start + i + k * step] over k from -radius to radius, as SciPy adds it up."""
    weight, here = weights[0], lines[start:]
    for i in range(out.size):
        out[i] = here[i] * weight
    for k in range(weights.size - 1, 0, -1):
        weight, before, after = weights[k], lines[start - k * step :], lines[start + k * step :]
        for i in range(out.size):
            out[i] += (before[i] + after[i]) * weight


@inlined
def _bound(maxima: np.ndarray, v: int, u: int, reach: int) -> float:
    """The largest value of a tile and, reach 1, of those around it."""
    bound: float = maxima[v, u]
    for a in range(max(v - reach, 0), min(v + reach + 1, maxima.shape[0])):
        for b in range(max(u - reach, 0), min(u + reach + 1, maxima.shape[1])):
            bound = max(bound, maxima[a, b])
    return bound


@inlined
def _take_tile(flat: np.ndarray, j: int, J: int, corner: tuple[int, int], radius: int, patch: np.ndarray) -> tuple[int, int]:
    """Copy the tile of map j at this corner, and what its windows see beyond it, into patch; the tile's height and width."""
    y0, x0 = corner
    H, W = flat.shape[0], flat.shape[1] // J
    height, width = min(TILE, H - y0), min(TILE, W - x0)
    at = 0
    for y in range(y0 - radius, y0 + height + radius):
        line = min(max(y, 0), H - 1)
        for x in range(x0 - radius, x0 + width + radius):
            patch[at] = flat[line, min(max(x, 0), W - 1) * J + j]
            at += 1
    return height, width


@released_kernel()
def _find(flat: np.ndarray, weights: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """See `find_peaks`; flat (H, W * J)."""
    J, H = places.size, flat.shape[0]
    W = flat.shape[1] // J
    down, across = (H + TILE - 1) // TILE, (W + TILE - 1) // TILE
    maxima = np.empty((J, down, across), flat.dtype)
    largest, wrong = np.empty(W * J, flat.dtype), np.zeros(W * J, flat.dtype)
    for v in range(down):
        _tile_maxima(flat, v * TILE, min(TILE, H - v * TILE), largest, wrong)
        for u in range(across):
            for j in range(J):
                best = largest[u * TILE * J + j]
                for x in range(u * TILE + 1, min((u + 1) * TILE, W)):
                    best = max(best, largest[x * J + j])
                maxima[j, v, u] = best

    radius = weights.size - 1
    reach = 1 if radius else 0
    # An average may come out above the largest of its values in double's last bits; rounded to float32 it does not.
    slack = 0.0 if flat.itemsize == 4 else 1e-14
    side = TILE + 2 * radius
    patch, middle, sums = np.empty(side * side), np.empty(TILE * side), np.empty(TILE * side)
    rounded = np.empty(TILE * side, flat.dtype)
    best, place = np.full(J, -np.inf), np.full(J, H * W)
    for turn in range(-1, down * across):  # the highest tile of every map, then all of them in order
        for j in range(J):
            tile = maxima[j].argmax() if turn < 0 else turn
            v, u = tile // across, tile % across
            y0, x0 = v * TILE, u * TILE
            bound = _bound(maxima[j], v, u, reach)
            reached = bound + abs(bound) * slack
            if reached < best[j] or (reached == best[j] and y0 * W + x0 >= place[j]):
                continue
            height, width = _take_tile(flat, j, J, (y0, x0), radius, patch)
            wide = width + 2 * radius
            size = height * wide
            _weighted(patch, radius * wide, wide, weights, sums[:size])
            for i in range(size):
                rounded[i] = sums[i]
                middle[i] = rounded[i]
            _weighted(middle, radius, 1, weights, sums[: size - 2 * radius])  # between the tile's lines it means nothing
            for a in range(height):
                for b in range(width):
                    rounded[0] = sums[a * wide + b]
                    smooth, at = rounded[0], (y0 + a) * W + x0 + b
                    if smooth > best[j] or (smooth == best[j] and at < place[j]):
                        best[j], place[j] = smooth, at
    for j in range(J):
        finite = True
        for x in range(W):
            finite &= wrong[x * J + j] == 0
        places[j], values[j] = (place[j], best[j]) if finite else (0, np.nan)
