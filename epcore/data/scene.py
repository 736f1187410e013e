"""Everything in a synthetic picture but the person: ground, clutter, things in front, and the camera's faults."""

from __future__ import annotations

import numpy as np

from epcore.data import paint
from epcore.data.body import Rng, Variety
from epcore.data.canvas import blur, develop, ground
from epcore.data.hulls import convex_hull
from epcore.data.looks import SKIN, clothes_colour

NOTHING = -1  # owner of what belongs to nobody


def sample_light(rng: Rng) -> np.ndarray:
    """(4,): unit direction towards the light, mostly from above and in front; share of ambient light."""
    direction = np.array([rng.normal(0, 0.5), -abs(rng.normal(0.5, 0.35)), abs(rng.normal(1, 0.3)) + 0.2])
    return np.append(direction / np.sqrt(direction @ direction), rng.uniform(0.3, 0.6))


def draw_background(canvas: np.ndarray, rng: Rng) -> None:
    """Soft patches of colour at several sizes over a base colour, often with a floor. canvas (S,S,3) is filled."""
    canvas[:] = 0.15 + 0.8 * clothes_colour(rng)
    contrast = rng.uniform(0.05, 0.35)
    for cells in (2, 5, 13, 40):
        grid = rng.normal(0, 1, (cells + 1, cells + 1, 1)) + rng.uniform(0, 0.5) * rng.normal(0, 1, (cells + 1, cells + 1, 3))
        ground(canvas, grid, contrast * rng.uniform(0, 0.8) * (2 / cells) ** 0.5)
    if rng.random() < 0.6:
        _draw_floor(canvas, rng)
    np.clip(canvas, 0.02, 1, out=canvas)


def _draw_floor(canvas: np.ndarray, rng: Rng) -> None:
    size = canvas.shape[0]
    horizon = rng.uniform(0.45, 0.9) * size
    slope = rng.normal(0, 0.05) * size
    corners = np.array([(size + 9, horizon + slope), (-9, horizon - slope), (-9, size + 9), (size + 9, size + 9)], np.float64)
    colours = np.array([clothes_colour(rng), clothes_colour(rng)])
    owner = np.empty((size, size), np.int16)
    depth = size - horizon + 1
    paint.polygon(canvas, owner, NOTHING, corners, colours, np.array([0, 1 / depth, -horizon / depth]))


def draw_clutter(canvas: np.ndarray, owner: np.ndarray, rng: Rng, count: int, light: np.ndarray) -> None:
    """Boxes, posts, balls, heaps: things of any colour and size at any place."""
    size = canvas.shape[0]
    for _ in range(count):
        place = rng.uniform(-0.1, 1.1, 2) * size
        draw_thing(canvas, owner, rng, place, rng.uniform(0.03, 0.25) * size, light)


def draw_thing(canvas: np.ndarray, owner: np.ndarray, rng: Rng, place: np.ndarray, extent: float, light: np.ndarray) -> None:
    """One thing of about the given half extent, pixels, at place (2,)."""
    colours = np.array([clothes_colour(rng), clothes_colour(rng), clothes_colour(rng)])
    kind = rng.random()
    if kind < 0.45:  # a box, a door, a picture on the wall
        angle, (a, b) = rng.normal(0, 0.2), extent * rng.uniform(0.3, 1, 2)
        axes = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        corners = place + np.array([(1, -1), (-1, -1), (-1, 1), (1, 1)]) * (a, b) @ axes
        direction = rng.normal(0, 1 / extent, 2)
        paint.polygon(canvas, owner, NOTHING, corners, colours[:2], np.append(direction, 0.5 - direction @ place))
    elif kind < 0.6:  # a heap
        points = place + extent * rng.uniform(-1, 1, (7, 2))
        direction = rng.normal(0, 1 / extent, 2)
        corners = convex_hull(points)
        paint.polygon(canvas, owner, NOTHING, corners, colours[:2], np.append(direction, 0.5 - direction @ place))
    else:  # a post, a branch, a ball
        angle = rng.uniform(0, np.pi)
        length = 0 if kind > 0.9 else extent * rng.uniform(0.5, 2)
        thickness = extent * (rng.uniform(0.3, 0.8) if length == 0 else rng.uniform(0.08, 0.35))
        end = place + length * np.array([np.cos(angle), np.sin(angle)])
        shape = np.array([*place, thickness, *end, thickness * rng.uniform(0.6, 1), 0])
        stripes = rng.uniform(0.5, 2) * thickness if rng.random() < 0.3 else 0
        paint.capsule(canvas, owner, NOTHING, shape, colours, np.array([1, stripes, 0.5, 0]), light)


def draw_decoy(canvas: np.ndarray, owner: np.ndarray, rng: Rng, light: np.ndarray) -> None:
    """An arm or a leg without a body, reaching in from the border."""
    size = canvas.shape[0]
    start = rng.uniform(-0.05, 1.05, 2) * size
    start[rng.integers(2)] = rng.choice([-0.03, 1.03]) * size
    inwards = np.arctan2(size / 2 - start[1], size / 2 - start[0]) + rng.normal(0, 0.6)
    length = rng.uniform(0.08, 0.16) * size
    cloth, skin = clothes_colour(rng), SKIN[rng.integers(len(SKIN))]
    for bend, radii, colours in (
        (0.0, (0.2, 0.17), [cloth, skin, cloth]),
        (rng.normal(0, 0.6), (0.16, 0.11), [skin] * 3),
        (0.0, (0.11, 0.12), [skin] * 3),
    ):
        inwards += bend
        reach = length if radii[0] != 0.11 else 0.3 * length
        end = start + reach * np.array([np.cos(inwards), np.sin(inwards)])
        shape = np.array([*start, radii[0] * length, *end, radii[1] * length, 0.05])
        paint.capsule(canvas, owner, NOTHING, shape, np.array(colours), np.array([0.6, 0, 0, 0]), light)
        start = end


def expose(canvas: np.ndarray, rng: Rng, variety: Variety) -> np.ndarray:
    """The camera: tint, exposure, contrast, blur, noise. canvas (S,S,3) float32 -> uint8 (S,S,3)."""
    if rng.random() < variety.blurred:
        blur(canvas, rng.uniform(0.4, 1.2) * canvas.shape[0] / 256)
    noise = rng.standard_normal(canvas.shape, np.float32)
    gain = rng.normal(1, 0.06, 3) * rng.uniform(0.8, 1.2)
    picture: np.ndarray = develop(canvas, noise, rng.uniform(0, variety.noise), gain, rng.uniform(0.6, 1.1))
    return picture
