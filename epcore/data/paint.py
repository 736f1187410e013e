"""Shaded shapes painted onto a picture, their edges smooth to a fraction of a pixel.

Every shape knows how far a pixel's centre lies from its outline; a pixel within half a pixel of it is covered in part. A
shape looks round: its surface normal follows from where across the shape the pixel lies, and light falls on it from one
side. Textures of torso and head are functions of that normal in the person's own frame, so they turn with the body.

canvas (S,S,3) float32, 0..1. owner (S,S) int16: number of the part seen at the pixel. light (4,) float64: unit direction
towards the light (x right, y down, z to the viewer) and the share of ambient light. Lengths are pixels.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from epcore.kernels.cpu.cache import cached

_compiled = partial(cached, nogil=True, error_model="numpy")


@_compiled
def _step(edge: float, value: float, width: float) -> float:
    """0 below the edge, 1 above it, linear over `width` around it."""
    return min(1.0, max(0.0, (value - edge) / width + 0.5))


@_compiled
def _shade(nx: float, ny: float, light: np.ndarray) -> float:
    nz = math.sqrt(max(0.0, 1.0 - nx * nx - ny * ny))
    lambert = max(0.0, nx * light[0] + ny * light[1] + nz * light[2])
    return float(light[3] + (1.0 - light[3]) * lambert)


@_compiled
def _mix(colour: np.ndarray, other: np.ndarray, share: float) -> None:
    for c in range(3):
        colour[c] += (other[c] - colour[c]) * share


@_compiled
def _put(
    canvas: np.ndarray, owner: np.ndarray, part: int, i: int, j: int, coverage: float, colour: np.ndarray, shade: float
) -> None:
    for c in range(3):
        canvas[i, j, c] += np.float32(coverage * (colour[c] * shade - canvas[i, j, c]))
    if coverage >= 0.5:
        owner[i, j] = part


@_compiled
def _range(low: float, high: float, size: int) -> tuple[int, int]:
    return max(0, math.floor(low - 1)), min(size, math.ceil(high + 1))


@_compiled
def capsule(
    canvas: np.ndarray, owner: np.ndarray, part: int, shape: np.ndarray, colours: np.ndarray, style: np.ndarray,
    light: np.ndarray,
) -> None:  # fmt: skip
    """A tapered limb. shape (7,): start x, y, radius, end x, y, radius, bulge (share of the radius added midway).

    colours (3,3): before and after style[0] (0..1 along the limb), and of stripes. style (4,): split; stripes across: their
    period, 0 for none, and share of it; a stripe along: its half width as a share of the radius, 0 for none.
    """
    ax, ay, ra, bx, by, rb, bulge = shape
    dx, dy = bx - ax, by - ay
    length = math.hypot(dx, dy)
    reach = max(ra, rb) * (1 + bulge)
    top, bottom = _range(min(ay, by) - reach, max(ay, by) + reach, canvas.shape[0])
    left, right = _range(min(ax, bx) - reach, max(ax, bx) + reach, canvas.shape[1])
    colour = np.empty(3)
    for i in range(top, bottom):
        for j in range(left, right):
            px, py = j + 0.5 - ax, i + 0.5 - ay
            t = 0.0 if length < 1e-6 else min(1.0, max(0.0, (px * dx + py * dy) / (length * length)))
            radius = (ra + (rb - ra) * t) * (1 + bulge * math.sin(math.pi * t))
            qx, qy = px - t * dx, py - t * dy
            coverage = radius - math.hypot(qx, qy) + 0.5
            if coverage <= 0:
                continue
            split = _step(style[0], t, 1 / max(length, 1.0)) if style[0] < 1 else 0.0
            for c in range(3):
                colour[c] = colours[0, c] + (colours[1, c] - colours[0, c]) * split
            if style[1] > 0:
                phase = (t * length / style[1]) % 1.0
                _mix(colour, colours[2], (1 - split) * (1 - _step(style[2], phase, 1 / style[1])))
            if style[3] > 0 and length > 1e-6:
                across = abs(qx * dy - qy * dx) / (length * radius)
                _mix(colour, colours[2], (1 - split) * (1 - _step(style[3], across, 1 / radius)))
            shade = _shade(qx / radius, qy / radius, light)
            _put(canvas, owner, part, i, j, min(1.0, coverage), colour, shade)


@_compiled
def polygon(
    canvas: np.ndarray, owner: np.ndarray, part: int, corners: np.ndarray, colours: np.ndarray, direction: np.ndarray
) -> None:
    """A convex polygon, corners (K,2) counter-clockwise on the screen, blending from colours[0] to colours[1] (2,3).

    direction (3,): x, y, offset; the blend is at x * direction[0] + y * direction[1] + direction[2].
    """
    top, bottom = _range(corners[:, 1].min(), corners[:, 1].max(), canvas.shape[0])
    left, right = _range(corners[:, 0].min(), corners[:, 0].max(), canvas.shape[1])
    sides = _sides(corners)
    colour = np.empty(3)
    for i in range(top, bottom):
        for j in range(left, right):
            x, y = j + 0.5, i + 0.5
            outside = -1e9
            for k in range(sides.shape[0]):
                outside = max(outside, sides[k, 0] * x + sides[k, 1] * y + sides[k, 2])
            coverage = 0.5 - outside
            if coverage <= 0:
                continue
            blend = min(1.0, max(0.0, x * direction[0] + y * direction[1] + direction[2]))
            for c in range(3):
                colour[c] = colours[0, c] + (colours[1, c] - colours[0, c]) * blend
            _put(canvas, owner, part, i, j, min(1.0, coverage), colour, 1.0)


@_compiled
def _sides(corners: np.ndarray) -> np.ndarray:
    """Corners of a convex polygon (K,2) -> (K,3): of each side the outward unit normal x, y and its offset d.

    n . p + d is the signed distance of p, positive outside; sides without length never win.
    """
    K = corners.shape[0]
    sides = np.empty((K, 3))
    for k in range(K):
        x, y = corners[k]
        ex, ey = corners[(k + 1) % K, 0] - x, corners[(k + 1) % K, 1] - y
        length = math.hypot(ex, ey)
        if length > 1e-9:
            sides[k] = -ey / length, ex / length, (x * ey - y * ex) / length
        else:
            sides[k] = 0.0, 0.0, -1e9
    return sides


# torso(): rows of colours
SHIRT, INNER, SKIN, PRINT, STRIPE, TROUSERS, BELT = range(7)
# torso(): entries of style; lengths along the torso as shares of it, angles in radians, 0 switches a feature off
FACING, HEM, COLLAR, PLACKET, OPENING, CHEST_PRINT, BACK_PRINT, STRIPES, POCKET = range(9)


@_compiled
def torso(
    canvas: np.ndarray,
    owner: np.ndarray,
    part: int,
    corners: np.ndarray,
    axis: np.ndarray,
    colours: np.ndarray,
    style: np.ndarray,
    light: np.ndarray,
) -> None:
    """A clothed trunk. corners (K,2): convex outline. axis (4,): x, y of the thorax and of the pelvis on the screen.

    colours (7,3) and style (9,): see the names above. style[FACING]: direction the chest faces, 0 towards the viewer, pi / 2
    to the right of the picture.
    """
    ax, ay, bx, by = axis
    length = max(1.0, math.hypot(bx - ax, by - ay))
    dx, dy = (bx - ax) / length, (by - ay) / length
    ux, uy = dy, -dx  # across, to the right of the picture where the torso is upright
    top, bottom = _range(corners[:, 1].min(), corners[:, 1].max(), canvas.shape[0])
    left, right = _range(corners[:, 0].min(), corners[:, 0].max(), canvas.shape[1])
    sides = _sides(corners)
    colour = np.empty(3)
    for i in range(top, bottom):
        for j in range(left, right):
            x, y = j + 0.5, i + 0.5
            outside = -1e9
            for k in range(sides.shape[0]):
                outside = max(outside, sides[k, 0] * x + sides[k, 1] * y + sides[k, 2])
            coverage = 0.5 - outside
            if coverage <= 0:
                continue
            low, high = -1e9, 1e9  # how far the outline is to the left and to the right
            for k in range(sides.shape[0]):
                slope = sides[k, 0] * ux + sides[k, 1] * uy
                gap = sides[k, 0] * x + sides[k, 1] * y + sides[k, 2]
                if slope > 1e-6:
                    high = min(high, -gap / slope)
                elif slope < -1e-6:
                    low = max(low, -gap / slope)
            half = max(0.5, (high - low) / 2)
            across = min(1.0, max(-1.0, -(high + low) / 2 / half))
            v = ((x - ax) * dx + (y - ay) * dy) / length
            beta = math.asin(across) - style[0]  # 0 front, pi / 2 the person's left
            beta = (beta + math.pi) % (2 * math.pi) - math.pi
            _cloth(colour, beta, v, colours, style, 1 / half, 1 / length)
            shade = _shade(across * ux * 0.95, across * uy * 0.95, light)
            _put(canvas, owner, part, i, j, min(1.0, coverage), colour, shade)


@_compiled
def _cloth(
    colour: np.ndarray, beta: float, v: float, colours: np.ndarray, style: np.ndarray, soft_beta: float, soft_v: float
) -> None:
    """Colour of the clothes at angle beta and height v; soft_*: extent of one pixel."""
    front, back = abs(beta), math.pi - abs(beta)
    for c in range(3):
        colour[c] = colours[0, c]
    if style[7] > 0:
        _mix(colour, colours[4], _step(0.5, abs((v / style[7]) % 1.0 * 2 - 1), 2 * soft_v / style[7]))
    if style[4] > 0:
        _mix(colour, colours[1], 1 - _step(style[4], front, soft_beta))
    if style[3] > 0:
        _mix(colour, colours[1], 1 - _step(style[3], front, soft_beta))
    if style[5] > 0:
        inside = max(front / (1.6 * style[5]), abs(v - 0.33) / (0.45 * style[5]))
        _mix(colour, colours[3], 1 - _step(1.0, inside, soft_v / (0.45 * style[5])))
    if style[6] > 0:
        inside = max(back / (1.3 * style[6]), abs(v - 0.3) / (0.8 * style[6]))
        _mix(colour, colours[3], 1 - _step(1.0, inside, soft_v / (0.8 * style[6])))
    if style[8] > 0:
        inside = max(abs(beta - 0.5) / 0.2, abs(v - 0.3) / 0.09)
        _mix(colour, colours[3], 1 - _step(1.0, inside, soft_v / 0.09))
    if style[2] > 0:
        _mix(colour, colours[2], 1 - _step(style[2], v + 0.08 + front * style[2] * 1.2, soft_v))
    if v > style[1] - 0.1:
        _mix(colour, colours[5], _step(style[1], v, soft_v))
        _mix(colour, colours[6], 1 - _step(0.045, abs(v - style[1]), soft_v))


# head(): rows of colours
FACE, HAIR, EYE, MOUTH, HAT = range(5)
# head(): entries of style
HAIRLINE, HAIR_BACK, BEARD, GLASSES, HAT_EDGE = range(5)


@_compiled
def head(
    canvas: np.ndarray, owner: np.ndarray, part: int, shape: np.ndarray, frame: np.ndarray, colours: np.ndarray,
    style: np.ndarray, light: np.ndarray,
) -> None:  # fmt: skip
    """An ellipsoid with face and hair. shape (6,): centre x, y, unit x, y of its long axis, half width, half length.

    frame (3,3): rows are the person's left, up and forward in screen axes (x right, y down, z to the viewer). style (5,):
    height of the hairline, how far forward hair grows at the sides (both -1..1); beard, glasses 0 or 1; height of a hat's
    edge, 1 for none.
    """
    cx, cy, ax, ay, half, long = shape
    ux, uy = -ay, ax
    reach = max(half, long)
    top, bottom = _range(cy - reach, cy + reach, canvas.shape[0])
    left, right = _range(cx - reach, cx + reach, canvas.shape[1])
    soft = 1 / half
    colour = np.empty(3)
    for i in range(top, bottom):
        for j in range(left, right):
            x, y = j + 0.5 - cx, i + 0.5 - cy
            across, along = (x * ux + y * uy) / half, (x * ax + y * ay) / long
            distance = math.hypot(across, along)
            coverage = (1 - distance) * half + 0.5
            if coverage <= 0:
                continue
            if distance > 1:
                across, along = across / distance, along / distance
            nx, ny = across * ux + along * ax, across * uy + along * ay
            nz = math.sqrt(max(0.0, 1 - nx * nx - ny * ny))
            side = frame[0, 0] * nx + frame[0, 1] * ny + frame[0, 2] * nz
            up = frame[1, 0] * nx + frame[1, 1] * ny + frame[1, 2] * nz
            fore = frame[2, 0] * nx + frame[2, 1] * ny + frame[2, 2] * nz
            for c in range(3):
                colour[c] = colours[0, c]
            if fore > 0:
                for eye in (-0.36, 0.36):
                    near = math.hypot((side - eye) / 0.19, (up - 0.12) / 0.13)
                    _mix(colour, colours[2], 0.9 * (1 - _step(1.0, near, soft * 4)))
                    brow = max(abs(side - eye) / 0.24, abs(up - 0.36) / 0.05)
                    _mix(colour, colours[1], 0.7 * (1 - _step(1.0, brow, soft * 8)))
                nose = max(abs(side) / 0.08, abs(up + 0.1) / 0.2)
                _mix(colour, colours[3], 0.35 * (1 - _step(1.0, nose, soft * 6)))
                mouth = max(abs(side) / 0.27, abs(up + 0.45) / 0.07)
                _mix(colour, colours[3], 0.85 * (1 - _step(1.0, mouth, soft * 6)))
                if style[3] > 0:
                    glasses = max(abs(side) / 0.75, abs(up - 0.13) / 0.15)
                    _mix(colour, colours[2], 1 - _step(1.0, glasses, soft * 5))
            if style[2] > 0:
                _mix(colour, colours[1], _step(0.33, -up, soft) * _step(0.1, fore, soft) * _step(0.1, abs(up + 0.45), soft))
            hair = max(_step(style[0], up, soft), _step(-style[1], -fore, soft) * _step(-0.62, up, soft))
            _mix(colour, colours[1], hair)
            _mix(colour, colours[4], _step(style[4], up, soft))
            shade = _shade(nx * 0.97, ny * 0.97, light)
            _put(canvas, owner, part, i, j, min(1.0, coverage), colour, shade)
