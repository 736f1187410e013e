"""Where every tensor of a plan lies: concatenations without copying, and one arena whose places are used again and again.

A concatenation is a buffer, and its members are slices of it: a layer whose output is concatenated writes straight into its
slice, at the buffer's distance between pixels. A tensor that several concatenations want lies in the last of them. An earlier
one takes the same buffer if that puts each of its members where it lies already, or where nothing else is at the time: the
passes of EfficientPose all read the backbone's features beside the output of the pass before, so one buffer serves them all.
Where that fails a member is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from epcore.graph.schedule import last_uses
from epcore.inference.step import Step
from epcore.shapes import Shape

ALIGNMENT = 16  # float32 a cache line


@dataclass(eq=False)
class Buffer:
    """Memory of `size` float32 that has to survive from step `first` to step `last`."""

    size: int
    first: int = 1 << 60
    last: int = -1
    offset: int = 0

    def use(self, step: int) -> None:
        self.first, self.last = min(self.first, step), max(self.last, step)


@dataclass(frozen=True)
class Place:
    """A tensor: `channels` of the `pixel` that each pixel of the buffer has, from `start` on. shape is (N,H,W,C)."""

    buffer: Buffer
    shape: Shape
    pixel: int
    start: int = 0

    @property
    def offset(self) -> int:
        return self.buffer.offset + self.start

    @property
    def image(self) -> int:
        return self.shape[1] * self.shape[2] * self.pixel


def place_tensors(steps: Sequence[Step], shapes: Mapping[str, Shape], outputs: Collection[str]) -> dict[str, Place]:
    """A place for the output of every step that has one. Later concatenations choose first."""
    lives = _lives(steps, outputs)
    places: dict[str, Place] = {}
    tenants: list[tuple[Place, Life]] = []
    for index, step in reversed(list(enumerate(steps))):
        if step.output not in shapes or not step.has_map:
            continue
        shape = shapes[step.output]
        if step.output not in places:
            shared = _shared(step, shapes, places, lives, tenants) if step.concatenates else None
            places[step.output] = shared or Place(Buffer(shape[0] * shape[1] * shape[2] * shape[3]), shape, shape[3])
        if step.concatenates:
            for name, slot in _slots(step, places[step.output], shapes):
                if places.setdefault(name, slot) is slot:
                    tenants.append((slot, lives[name]))
                elif places[name] != slot:  # copied when all its members are there
                    tenants.append((slot, (index, lives[step.output][1])))
    return places


Life = tuple[float, float]  # from the layer that writes it to the last that reads it


def _lives(steps: Sequence[Step], outputs: Collection[str]) -> dict[str, Life]:
    """What is read of a concatenation is read of its members, and it is written when the first of them is."""
    first: dict[str, float] = {}
    for index, step in enumerate(steps):
        members = step.inputs if step.concatenates else []
        first[step.output] = min((first[name] for name in members if name in first), default=index)
    last: dict[str, float] = {**last_uses((step.output, step.reads) for step in steps)}
    last |= dict.fromkeys(outputs, float("inf"))
    for step in reversed(steps):
        for name in step.inputs if step.concatenates else []:
            last[name] = max(last[name], last[step.output])
    return {name: (start, last[name]) for name, start in first.items()}


def _slots(step: Step, whole: Place, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, Place]]:
    """The members of a concatenation, and where in it each belongs."""
    start = whole.start
    for name in step.inputs:
        yield name, Place(whole.buffer, shapes[name], whole.pixel, start)
        start += shapes[name][3]


def _shared(
    step: Step,
    shapes: Mapping[str, Shape],
    places: Mapping[str, Place],
    lives: Mapping[str, Life],
    tenants: Sequence[tuple[Place, Life]],
) -> Place | None:
    """A place for this concatenation in the buffer where its members that have one lie, if the others find theirs free."""
    shape, start = shapes[step.output], 0
    for name in step.inputs:
        if name in places:
            place = Place(places[name].buffer, shape, places[name].pixel, places[name].start - start)
            break
        start += shapes[name][3]
    else:
        return None
    if place.start < 0 or place.start + shape[3] > place.pixel:
        return None
    for name, slot in _slots(step, place, shapes):
        if places.get(name, slot) != slot:
            return None
        if name not in places and any(_collide(slot, lives[name], *tenant) for tenant in tenants):
            return None
    return place


def _collide(a: Place, life_a: Life, b: Place, life_b: Life) -> bool:
    if a.buffer is not b.buffer or a.start + a.shape[3] <= b.start or b.start + b.shape[3] <= a.start:
        return False
    return life_a[0] <= life_b[1] and life_b[0] <= life_a[1]


def members(step: Step, places: Mapping[str, Place], shapes: Mapping[str, Shape]) -> list[tuple[Place, Place]]:
    """(where a member lies, where the concatenation wants it) for every member that has to be copied."""
    slots = _slots(step, places[step.output], shapes)
    return [(places[name], slot) for name, slot in slots if places[name] != slot]


def allocate(buffers: Sequence[Buffer], start: int) -> int:
    """Give every buffer an offset from `start` on, so that no two alive at the same step overlap; the end of the arena.

    Largest first, each at the lowest free place: close to the lower bound for networks like these.
    """
    end = start
    done: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda buffer: -buffer.size):
        at = start
        for other in sorted(done, key=lambda other: other.offset):
            overlaps = other.first <= buffer.last and buffer.first <= other.last
            if overlaps and other.offset < at + buffer.size and at < other.offset + other.size:
                at = -(-(other.offset + other.size) // ALIGNMENT) * ALIGNMENT
        buffer.offset = at
        done.append(buffer)
        end = max(end, at + buffer.size)
    return end
