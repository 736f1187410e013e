"""Which way of preparing a picture gives a port's x.

What can be solved for is: how grey levels became numbers, channel by channel, which channel is which, and what the padding
holds. What cannot is tried: how pictures are resized, where they lie, what becomes of fractions of levels, and the symmetries
of a square. A way explains x where it gives every level of the port, but for those that rounding in float32 can turn into
their neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from epcore.port.pipeline.otherwise import Choices, ways
from epcore.port.pipeline.resizing import RELEASE, RESIZES
from epcore.pose.preprocess import PREPROCESSING, Geometry
from epcore.pose.resample import ROUNDING

FLIPPED = 0.004  # the share of levels that may be neighbours: those whose exact value float32 cannot tell from a whole number
NEIGHBOURS = 0.3  # the share where integers are rounded: OpenCV's 11 bits of each weight are a quarter of a level in all
CUT_OFF, ROUNDED, KEPT = (f"fractions of levels are {what}" for what in ("cut off", "rounded", "kept"))

Placed = tuple[np.ndarray, Geometry]
SYMMETRIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upright": lambda x: x,
    "flipped left to right": lambda x: x[:, ::-1],
    "flipped upside down": lambda x: x[::-1],
    "turned by 180 degrees": lambda x: x[::-1, ::-1],
    "rows and columns exchanged": lambda x: x.swapaxes(0, 1),
    "turned left": lambda x: np.rot90(x),
    "turned right": lambda x: np.rot90(x, -1),
    "rows and columns exchanged, then turned by 180 degrees": lambda x: x.swapaxes(0, 1)[::-1, ::-1],
}


def _fit_in(picture: np.ndarray, size: int) -> Geometry:
    return Geometry.fit(picture.shape[1], picture.shape[0], size)


def _other_half(picture: np.ndarray, size: int) -> Placed:
    right = _fit_in(picture, size)
    beside, above = size - right.resized_width, size - right.resized_height
    return picture, replace(right, left=-(-beside // 2), top=-(-above // 2))


def _cut_out(picture: np.ndarray, size: int) -> Placed:
    H, W, _ = picture.shape
    side = min(H, W)
    top, left = (H - side) // 2, (W - side) // 2
    middle = picture[top : top + side, left : left + side]
    return middle, _fit_in(middle, size)


# What of a picture is shown, and where: (picture, size of the square).
PLACES: dict[str, Callable[[np.ndarray, int], Placed]] = {
    "the picture is centred, its shape kept": lambda p, size: (p, _fit_in(p, size)),
    "the picture is in the upper left corner": lambda p, size: (p, replace(_fit_in(p, size), left=0, top=0)),
    "the picture is in the middle, the larger half of odd padding left and above": _other_half,
    "the picture is stretched to the square": lambda p, size: (p, Geometry(p.shape[1], p.shape[0], size, size, size, 0, 0)),
    "the picture is cut to the square in its middle": _cut_out,
}
_RIGHT_PLACE = (
    "",
    "it lies in the middle",
    "the smaller half is there",
    "its shape is kept",
    "all of it is shown, with black beside it",
)

_RIGHT_RESIZE = f"resized: {RELEASE}, borders mirrored (`epcore.pose.preprocess`)"
CHOICES: dict[str, dict[str, str]] = {
    "resize": {f"resized: {name}": _RIGHT_RESIZE for name in RESIZES},
    "place": dict(zip(PLACES, _RIGHT_PLACE, strict=True)),
    "fractions": {
        CUT_OFF: "",
        "fractions of levels are cut off after rounding errors of float32": (
            f"{ROUNDING:g} is added before levels are truncated: an even grey stays what it is"
        ),
        ROUNDED: "levels are truncated",
        KEPT: "levels are truncated to whole numbers",
    },
    "symmetry": {f"the picture is {name}": "it is upright" for name in SYMMETRIES},
}


class Levels:
    """What ways give for one picture: levels (R,R,3) float64, and where they are the picture's. Resized pictures are kept."""

    def __init__(self, picture: np.ndarray, size: int) -> None:
        self.picture, self.size = picture, size
        self._resized: dict[tuple[str, int, int, bool], np.ndarray] = {}

    def of(self, way: Choices) -> tuple[np.ndarray, np.ndarray]:
        picture, geometry = PLACES[way.chosen["place"]](self.picture, self.size)
        name = way.chosen["resize"].removeprefix("resized: ")
        key = name, geometry.resized_height, geometry.resized_width, picture is self.picture
        if key not in self._resized:
            self._resized[key] = RESIZES[name](picture, (geometry.resized_height, geometry.resized_width))
        resized = self._resized[key]
        fractions = way.chosen["fractions"]
        if fractions != KEPT:
            added = {CUT_OFF: ROUNDING, ROUNDED: 0.5}
            whole = resized + added.get(fractions, -1e-4)
            resized = np.clip(np.floor(whole), 0, 255)
        levels, inside = np.zeros((self.size, self.size, 3)), np.zeros((self.size, self.size), bool)
        rows = slice(geometry.top, geometry.top + geometry.resized_height)
        columns = slice(geometry.left, geometry.left + geometry.resized_width)
        levels[rows, columns], inside[rows, columns] = resized, True
        turn = SYMMETRIES[way.chosen["symmetry"].removeprefix("the picture is ")]
        return turn(levels), turn(inside)


@dataclass(frozen=True)
class Scaling:
    """x = factor * level[channel] + offset, for each channel of x. channels: which of RGB it holds."""

    channels: tuple[int, ...]
    factor: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """A way that explains x. padding: what the padding holds in each channel, None where nothing is padded or the picture's
    black is there."""

    way: Choices
    scaling: Scaling
    padding: tuple[float, ...] | None
    flipped: float


def explain(port: Mapping[str, np.ndarray], levels: Mapping[str, Levels]) -> list[Found]:
    """The ways with the fewest mistakes that give all of the port's x, by case (R,R,3); none where no two mistakes do.

    Where none gives it exactly, one that gives it but for neighbouring levels: integers round otherwise than float32.
    """
    given = {name: x.astype(np.float64) for name, x in port.items() if np.isfinite(x).all()}
    found: list[Found] = []
    near: list[Found] = []
    if not given:
        return found
    first = max(given, key=lambda name: float(given[name].std()))  # which tells most ways apart, and the others are not tried
    for way in ways(CHOICES):
        if found and len(way.said) > len(found[0].way.said):
            break
        if _fit(way, {first: given[first]}, levels, step=7) is not None and (each := _fit(way, given, levels)) is not None:
            (found if each.flipped <= FLIPPED else near).append(each)
    return found or sorted(near, key=lambda each: (each.flipped, len(each.way.said)))[:1]


def _fit(way: Choices, port: Mapping[str, np.ndarray], levels: Mapping[str, Levels], step: int = 1) -> Found | None:
    """step: of the pixels looked at."""
    given = {name: levels[name].of(way) for name in port}
    ours = np.concatenate([square[inside][::step] for square, inside in given.values()])
    theirs = np.concatenate([port[name][inside][::step] for name, (_, inside) in given.items()])
    scaling = _scaling(ours, theirs)
    if scaling is None:
        return None
    factor, offset = np.array(scaling.factor), np.array(scaling.offset)
    errors = np.abs((theirs - offset) / factor - ours[:, scaling.channels])
    # Of numbers in float32: those of the level itself, and those around the mean that was subtracted.
    bound = 1e-3 + 2.0**-21 * (np.abs(theirs).max() + np.abs(offset).max()) / np.abs(factor).min()
    flipped = float((errors > bound).mean())
    fractions = way.chosen["fractions"]
    if errors.max() > (bound if fractions == KEPT else 1 + bound) or flipped > (
        NEIGHBOURS if fractions == ROUNDED else FLIPPED
    ):
        return None
    beside = np.concatenate([port[name][~inside] for name, (_, inside) in given.items()])
    if not len(beside):
        return Found(way, scaling, None, flipped)
    if np.ptp(beside, axis=0).max() > bound * np.abs(factor).max():
        return None
    held = beside.mean(axis=0)
    black = np.abs(held - offset).max() <= bound * np.abs(factor).max()
    return Found(way, scaling, None if black else tuple(map(float, held)), flipped)


def _scaling(ours: np.ndarray, theirs: np.ndarray) -> Scaling | None:
    """By least squares for every pair of channels; of all assignments the one with the smallest errors, ours where it is as
    good."""
    fits = [[_line(ours[:, c], theirs[:, d]) for c in range(3)] for d in range(3)]
    orders = sorted(permutations(range(3)), key=lambda order: (order != (0, 1, 2), order))
    costs = [sum(fits[d][order[d]][2] for d in range(3)) for order in orders]
    best = min(costs)
    order = next(order for order, cost in zip(orders, costs, strict=True) if cost <= best * (1 + 1e-6) + 1e-12)
    lines = [fits[d][order[d]] for d in range(3)]
    if any(abs(line[0]) < 1e-12 for line in lines):
        return None
    factor, offset = (tuple(line[k] for line in lines) for k in (0, 1))
    return Scaling(order, factor, offset)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """factor, offset and the mean square of what is left, in levels. The line is that of the half of the values that lie on it
    best, so that neighbouring levels do not bend it."""
    kept = np.ones(len(x), bool)
    factor = offset = 0.0
    for _ in range(3):
        mean = x[kept].mean(), y[kept].mean()
        spread = float(np.square(x[kept] - mean[0]).sum())
        if not spread:
            return 0.0, 0.0, np.inf
        factor = float(((x[kept] - mean[0]) * (y[kept] - mean[1])).sum() / spread)
        offset = float(mean[1] - factor * mean[0])
        if not factor:
            return 0.0, 0.0, np.inf
        errors = np.abs(y - offset - factor * x)
        kept = errors <= np.quantile(errors, 0.5) + 1e-3 * abs(factor)
    return factor, offset, float(np.square((y - offset) / factor - x).mean())


def said_of(found: Found, preprocessing: str) -> list[tuple[str, str]]:
    """(what is done otherwise, what is right), of everything that a way explains. preprocessing: the right one."""
    mean, std = (np.asarray(each) for each in PREPROCESSING[preprocessing])
    said = list(found.way.said)
    if found.flipped > FLIPPED:
        said = [(f"{what} (but for {found.flipped:.1%} of the levels, which are neighbours)", right) for what, right in said]
    scaling = found.scaling
    if scaling.channels != (0, 1, 2):
        said.append((f"channels are {''.join('RGB'[c] for c in scaling.channels)}", "channels are RGB"))
    factor, offset = np.array(scaling.factor), np.array(scaling.offset)
    right_factor, right_offset = 1 / (255 * std), -mean / std
    if not (np.allclose(factor, right_factor, rtol=1e-5) and np.allclose(offset, right_offset, rtol=1e-5, atol=1e-5)):
        right = f"x = (level / 255 - mean) / std is {_numbers(right_factor)} x level {_signed(right_offset)}"
        said.append((f"x is {_numbers(factor)} x level {_signed(offset)}{_meaning(found, mean, std)}", right))
    if found.padding is not None:
        said.append((f"the padding holds {_numbers(np.array(found.padding))}: it was put there after levels became numbers",
                     "the padding is black before that, so that x is not 0 there"))  # fmt: skip
    return said


def _meaning(found: Found, mean: np.ndarray, std: np.ndarray) -> str:
    """What the numbers mean: the mean and deviation that the port must have used, on the scale of pixels that it used."""
    factor, offset = np.array(found.scaling.factor), np.array(found.scaling.offset)
    if np.allclose(factor, 1) and np.allclose(offset, 0, atol=1e-4):
        return ", the levels themselves"
    if np.allclose(factor, 1 / 255, rtol=1e-5) and np.allclose(offset, 0, atol=1e-5):
        return ", levels / 255 without mean and deviation"
    if np.allclose(factor, 1 / 127.5, rtol=1e-5) and np.allclose(offset, -1, atol=1e-5):
        return ", level / 127.5 - 1"
    of = found.scaling.channels
    for scale in (255.0, 256.0, 1.0, 127.5):
        deviation, centre = 1 / (scale * factor), -offset / (scale * factor)
        matches = []
        for name, values, right in (("mean", centre, mean), ("deviation", deviation, std)):
            if np.allclose(values, right, rtol=1e-4):
                matches.append(f"the {name} of RGB, in this order")
            elif np.allclose(values, right[list(of)], rtol=1e-4):
                matches.append(f"the {name} of each channel")
            elif np.allclose(values, 1 if name == "deviation" else 0, atol=1e-4):
                matches.append(f"no {name}")
        if len(matches) == 2:
            return f": level / {scale:g}, {matches[0]}, {matches[1]}"
    deviation, centre = 1 / (255 * factor), -offset / (255 * factor)
    return f": as if the mean were {_numbers(centre)} and the deviation {_numbers(deviation)}"


def _numbers(values: np.ndarray) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


def _signed(values: np.ndarray) -> str:
    return f"{'-' if (values < 0).all() else '+'} {_numbers(-values if (values < 0).all() else values)}"
