"""Where every tensor of a plan lies: concatenations without copying, and one arena whose places are used again and again.

A concatenation is a buffer, and its members are slices of it: a layer whose output is concatenated writes straight into its
slice, at the buffer's distance between pixels. A tensor that several concatenations want lies in the last of them and is
copied to the others (the backbone's features, a few channels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from epcore.inference.fold import Layer
from epcore.shapes import Shape

ALIGNMENT = 16  # float32 a cache line


@dataclass
class Buffer:
    """Memory of `size` float32 that has to survive from step `first` to step `last`."""

    size: int
    first: int = 1 << 60
    last: int = -1
    offset: int = 0

    def use(self, step: int) -> None:
        self.first, self.last = min(self.first, step), max(self.last, step)


@dataclass
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


def place_tensors(layers: Sequence[Layer], shapes: Mapping[str, Shape]) -> dict[str, Place]:
    """A place for the output of every layer that has one. Later concatenations choose first."""
    places: dict[str, Place] = {}
    for layer in reversed(layers):
        if layer.op == "gate":
            continue
        shape = shapes[layer.output]
        if layer.output not in places:
            places[layer.output] = Place(Buffer(shape[0] * shape[1] * shape[2] * shape[3]), shape, shape[3])
        if layer.op == "concat":
            whole, start = places[layer.output], 0
            for name in layer.inputs:
                member = shapes[name]
                if name not in places:
                    places[name] = Place(whole.buffer, member, whole.pixel, whole.start + start)
                start += member[3]
    return places


def members(layer: Layer, places: Mapping[str, Place]) -> list[tuple[Place, Place]]:
    """(where a member lies, where the concatenation wants it) for every member that has to be copied."""
    whole, start, moves = places[layer.output], 0, []
    for name in layer.inputs:
        place = places[name]
        wanted = Place(whole.buffer, place.shape, whole.pixel, whole.start + start)
        if place.buffer is not whole.buffer or place.start != wanted.start:
            moves.append((place, wanted))
        start += place.shape[3]
    return moves


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
