"""Where a gradient is wrong: at a border, in a channel, where an ingredient is negative; and what it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from epcore.exercise.evidence import FEW, Explanation, Sample
from epcore.exercise.fit import explanation, times
from epcore.exercise.symmetries import axis_names
from epcore.exercise.windows import window_of


class Region(NamedTuple):
    """text: a clause, "in the last row". of(sample) -> truth values of the gradient's shape, None where there is no such place.

    Cases of one input may differ in their axes.
    """

    text: str
    of: Callable[[Sample], np.ndarray | None]

    def masks(self, samples: Sequence[Sample]) -> list[np.ndarray] | None:
        """In every case, None where it is no place in one of them, or all there is."""
        found = []
        for sample in samples:
            try:
                mask = self.of(sample)
            except IndexError:  # this gradient has fewer axes
                return None
            if mask is None or mask.all():
                return None
            found.append(mask)
        return found


def _ends(first: Sample) -> Iterator[Region]:
    for axis, name in enumerate(axis_names(first.problem, first.name, first.got.ndim)):
        for index, which in ((0, "first"), (-1, "last")):
            yield Region(f"in the {which} of its {name}", partial(_end, axis=axis, index=index))


def ends(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """Right, but 0 in the first or last row, column, sample, channel."""
    for region in _ends(samples[0]):
        yield Explanation(f"0 {region.text}", partial(_inside, region=region, values=lambda s: np.zeros(s.got.shape)))


def regions(samples: Sequence[Sample]) -> Iterator[Region]:
    """Places that may matter to an input's gradient, small ones first."""
    first = samples[0]
    names = axis_names(first.problem, first.name, first.got.ndim)
    yield from _ends(first)
    spatial = [axis for axis, name in enumerate(names) if name in ("rows", "columns")]
    if len(spatial) == 2:
        yield Region("in the corners", lambda s: _border(s.got.shape, spatial[0]) & _border(s.got.shape, spatial[1]))
        yield Region("in the border", lambda s: _border(s.got.shape, spatial[0]) | _border(s.got.shape, spatial[1]))
        if window_of(first.problem) is not None:
            yield Region("at the first pixel of each window", lambda s: _phase(s, True, True))
            yield Region("at all but the first pixel of each window", lambda s: _not(_phase(s, True, True)))
            yield Region("in the first row of each window", lambda s: _phase(s, True, False))
            yield Region("in the first column of each window", lambda s: _phase(s, False, True))
    for name in _comparable(first):
        yield Region(f"where {name} > 0", partial(_values, name=name, test=lambda a: a > 0))
        yield Region(f"where {name} < 0", partial(_values, name=name, test=lambda a: a < 0))
        yield Region(f"where {name} is 0", partial(_values, name=name, test=lambda a: a == 0))
    for threshold in thresholds(samples):
        yield Region(threshold.text, partial(_above, threshold=threshold))


def exact(samples: Sequence[Sample]) -> Region | None:
    """The place that holds all wrong values and, where the gradient is not 0, hardly any right ones."""
    for region in regions(samples):
        masks = region.masks(samples)
        if masks and all(_is_place_of(sample, mask) for sample, mask in zip(samples, masks, strict=True)):
            return region
    return None


def _is_place_of(sample: Sample, mask: np.ndarray) -> bool:
    wrong = sample.wrong
    if (wrong & ~mask).any():
        return False
    matters = mask & (sample.right != 0) | wrong
    return bool(wrong.sum() >= 0.9 * matters.sum())


def explanations(samples: Sequence[Sample]) -> Iterator[Explanation]:
    """So many times what is right within a place, and so many elsewhere; or dy there, or a constant."""
    for region in regions(samples):
        masks = region.masks(samples)
        if masks is None or not any(mask.any() for mask in masks):
            continue
        if (each := explanation(samples, _parts(region), partial(_of_parts, region))) is not None:
            yield each
        if any((sample.wrong & ~mask).any() for sample, mask in zip(samples, masks, strict=True)):
            continue
        if all(sample.problem.dy.shape == sample.got.shape for sample in samples):
            yield Explanation(f"{region.text} dy as it is", partial(_inside, region=region, values=lambda s: s.problem.dy))
            yield Explanation(f"{region.text} -dy", partial(_inside, region=region, values=lambda s: -s.problem.dy))
        inside = np.concatenate([s.got[mask] for s, mask in zip(samples, masks, strict=True)])
        if len(inside) > FEW and np.ptp(inside) == 0 and inside[0]:
            yield Explanation(
                f"{region.text} always {inside[0]:g}", partial(_inside, region=region, values=_constant(inside[0]))
            )


def _constant(value: float) -> Callable[[Sample], np.ndarray]:
    return lambda sample: np.full(sample.got.shape, value)


def _parts(region: Region) -> Callable[[Sample], list[np.ndarray]]:
    """What is right within the place, and elsewhere."""

    def parts(sample: Sample) -> list[np.ndarray]:
        mask = region.of(sample)
        if mask is None:
            raise ValueError("there is no such place")
        return [np.where(mask, sample.right, 0), np.where(mask, 0, sample.right)]

    return parts


def _of_parts(region: Region, found: list[str]) -> str | None:
    inside, outside = (times(each) for each in found)
    if inside is None or found[0] == found[1]:
        return None
    inside = "0" if found[0] == "0" else inside
    outside = "0" if found[1] == "0" else outside
    return f"{region.text} {inside}" + (f", elsewhere {outside}" if outside else "")


def _inside(sample: Sample, region: Region, values: Callable[[Sample], np.ndarray]) -> np.ndarray | None:
    mask = region.of(sample)
    return None if mask is None else np.where(mask, values(sample), sample.right)


def _end(sample: Sample, axis: int, index: int) -> np.ndarray:
    return _at(sample.got.shape, axis, index)


def _at(shape: tuple[int, ...], axis: int, index: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    place: list[slice | int] = [slice(None)] * len(shape)
    place[axis] = index
    mask[tuple(place)] = True
    return mask


def _border(shape: tuple[int, ...], axis: int) -> np.ndarray:
    return np.asarray(_at(shape, axis, 0) | _at(shape, axis, -1))


def _phase(sample: Sample, rows: bool, columns: bool) -> np.ndarray | None:
    """Where the first row, or column, of windows lies."""
    window = window_of(sample.problem)
    if window is None or window.stride == 1 or sample.got.ndim != 4:
        return None
    h, k = ((np.arange(n) + p) % window.stride == 0 for n, p in zip(sample.got.shape[1:3], window.start, strict=True))
    mask = np.zeros(sample.got.shape, bool)
    mask[:] = (h[:, None] | (not rows))[None, :, :, None] & (k[None, :] | (not columns))[None, :, :, None]
    return mask


def _not(mask: np.ndarray | None) -> np.ndarray | None:
    return None if mask is None else ~mask


def _comparable(sample: Sample) -> dict[str, np.ndarray]:
    """Arrays by name that have a value for every entry of the gradient."""
    held = sample.scope.arrays()
    held |= sample.problem.arrays
    held["the right value"] = sample.right
    found = {}
    for name, array in held.items():
        try:
            fits = np.broadcast_shapes(array.shape, sample.got.shape) == sample.got.shape and array.ndim == sample.got.ndim
        except ValueError:
            continue
        if fits and array.size > 1 and array.dtype.kind == "f":
            found[name] = array
    return found


def _values(sample: Sample, name: str, test: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    array = _comparable(sample).get(name)
    return None if array is None else np.broadcast_to(test(array), sample.got.shape)


class Threshold(NamedTuple):
    """An ingredient that, times `sign` (0: its size), is above `number` exactly where values are wrong."""

    name: str
    sign: int
    number: float

    def of(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(array) if self.sign == 0 else self.sign * array)

    @property
    def text(self) -> str:
        shown = f"|{self.name}|" if self.sign == 0 else self.name
        return f"where {shown} {'<' if self.sign < 0 else '>'} {-self.number if self.sign < 0 else self.number:g}"


def thresholds(samples: Sequence[Sample]) -> Iterator[Threshold]:
    """Of entries that are not 0 anyway."""
    for name in _comparable(samples[0]):
        for sign in (1, -1, 0):
            low, high = -np.inf, np.inf
            for sample in samples:
                array = _comparable(sample).get(name)
                if array is None:
                    break
                values = np.broadcast_to(Threshold(name, sign, 0.0).of(array), sample.got.shape)
                wrong, right = values[sample.wrong], values[~sample.wrong & (sample.right != 0)]
                low, high = max(low, right.max(initial=-np.inf)), min(high, wrong.min(initial=np.inf))
            else:
                if np.isfinite([low, high]).all() and low < high:
                    yield Threshold(name, sign, roundest(low, high))


def _above(sample: Sample, threshold: Threshold) -> np.ndarray | None:
    return _values(sample, threshold.name, lambda a: threshold.of(a) > threshold.number)


def roundest(low: float, high: float) -> float:
    """The number of fewest digits in [low, high)."""
    for digits in range(-3, 17):
        step = 10.0**-digits
        for each in (np.ceil(low / step) * step, np.floor(high / step) * step):
            if low <= each < high:
                return round(float(each), max(digits, 0)) + 0.0
    return low
