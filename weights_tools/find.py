"""Which arrays of a file are a network's: by name, below a prefix, by order and shape.

Names decide wherever they can. A layer `stem_conv` is found as `stem_conv`; below a prefix, `efficientnetb0/stem_conv` or
`backbone_stem_conv`, where the prefix is the same for all layers; with a counter that Keras appended, `stem_conv_1`. Where that
does not give every layer, the layers of one sub-model are compared in order, class by class: somewhere among its convolutions
must be a run with the shapes of ours, and so for every class, and no name may contradict. Of several places that fit, the one
without prefix and counter is taken, or any if all hold the same numbers; else the file has to be cut down by its owner, who
alone knows which was meant.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from epcore.weights_tools.weight_file import WeightFile

Key = tuple[str, str]  # (layer, array)

_SEPARATORS = "/_-.:"
_LONGEST_NAME = 1000
_PLACES = 50  # looked at: those with the most of our layers; a file made to delay has a hundred thousand


@dataclass
class Found:
    """arrays: parameter -> key of its array in the file. how: parameter -> in words. missing: parameters that are not there."""

    arrays: dict[str, Key] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def find(
    file: WeightFile, wanted: Mapping[str, Key], shapes: Mapping[str, tuple[int, ...]], order: Iterable[tuple[str, str]] = ()
) -> Found:
    """Where the file has the wanted parameters.

    wanted: parameter -> (layer, array) as a file would call it. shapes: parameter -> shape. order: (class, layer) of the layers
    in the network's order, if order alone may decide. What is found need not have the right shape where its name is right.
    Raises ValueError where several places fit and hold different numbers.
    """
    named = _by_name(file, wanted, shapes)
    if not named.missing:
        return named
    ordered = _by_order(file, wanted, shapes, list(order), named)
    if ordered is not None and (not ordered.missing or not named.arrays):
        return ordered
    return named


def fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Keras' depthwise kernels have a last axis of 1, (k, k, C, multiplier)."""
    return shape in (wanted, (*wanted, 1))


def _by_name(file: WeightFile, wanted: Mapping[str, Key], shapes: Mapping[str, tuple[int, ...]]) -> Found:
    layers = {layer for layer, _ in wanted.values()}
    places: dict[str, dict[str, dict[str, str]]] = {}  # prefix -> layer -> counter -> its name in the file
    for name in dict.fromkeys(layer for layer, _ in file.arrays if len(layer) <= _LONGEST_NAME):
        for start in (0, *(i + 1 for i, letter in enumerate(name) if letter in _SEPARATORS)):
            tail = name[start:]
            layer = tail if tail in layers else re.sub(r"_\d+$", "", tail)
            if layer in layers:
                places.setdefault(name[:start], {}).setdefault(layer, {})[tail[len(layer) :]] = name
    candidates: list[tuple[tuple[int, int, bool], Found]] = []
    for prefix, by_layer in sorted(places.items(), key=lambda place: -len(place[1]))[:_PLACES]:
        common = Counter(counter for counters in by_layer.values() for counter in counters).most_common(_PLACES)
        for counter, _ in common:
            found = Found()
            for parameter, (layer, role) in wanted.items():
                counters = by_layer.get(layer, {})
                used = next((each for each in (counter, "") if each in counters), None)
                if used is None and len(counters) == 1:
                    used = next(iter(counters))
                if used is None or (counters[used], role) not in file.arrays:
                    found.missing.append(parameter)
                    continue
                found.arrays[parameter] = (counters[used], role)
                below = f" below {prefix}" if prefix else ""
                found.how[parameter] = f"by name{below}" + (f", counter {used}" if used else "")
            right = sum(fits(file.arrays[key].shape, shapes[parameter]) for parameter, key in found.arrays.items())
            rank = (right, len(found.arrays), not prefix and not counter)
            candidates.append((rank, found))
    return _best(file, candidates) or Found(missing=list(wanted))


def _best(file: WeightFile, candidates: list[tuple[tuple[int, int, bool], Found]]) -> Found | None:
    if not candidates:
        return None
    top = max(rank for rank, _ in candidates)
    best = [found for rank, found in candidates if rank == top]
    if top[0] == 0:  # nothing has a right shape: any will do for the message
        return best[0]
    for other in best[1:]:
        if not _same_numbers(file, best[0], other):
            places = [next(iter(found.arrays.values()))[0] for found in (best[0], other)]
            raise ValueError(
                f"{file.path} holds several networks that fit, with different numbers: one has {places[0]}, another "
                f"{places[1]}; save the one that is meant by itself"
            )
    return best[0]


def _same_numbers(file: WeightFile, one: Found, other: Found) -> bool:
    if one.arrays.keys() != other.arrays.keys():
        return False
    pairs = ((key, other.arrays[parameter]) for parameter, key in one.arrays.items())
    return all(key == twin or np.array_equal(file.arrays[key], file.arrays[twin]) for key, twin in pairs)


def _by_order(
    file: WeightFile,
    wanted: Mapping[str, Key],
    shapes: Mapping[str, tuple[int, ...]],
    order: list[tuple[str, str]],
    named: Found,
) -> Found | None:
    """None where no order can be told. Where nothing fits, the n-th of a class for the n-th, so that one sees what does not."""
    roles: dict[str, dict[str, str]] = {}  # layer -> role -> parameter
    for parameter, (layer, role) in wanted.items():
        roles.setdefault(layer, {})[role] = parameter
    sought: dict[str, list[str]] = {}
    for kind, layer in order:
        sought.setdefault(kind, []).append(layer)
    containers: dict[str, dict[str, list[str]]] = {}
    for name, facts in file.layers.items():
        if facts.kind:
            containers.setdefault(facts.container, {}).setdefault(facts.kind, []).append(name)
    if not sought or not containers:
        return None

    def right(layer: str, name: str) -> bool:
        return all(
            (name, role) in file.arrays and fits(file.arrays[name, role].shape, shapes[parameter])
            for role, parameter in roles[layer].items()
        )

    complete: list[tuple[tuple[int, int, bool], Found]] = []
    for kinds in containers.values():
        starts = {}
        for kind, layers in sought.items():
            names = kinds.get(kind, [])
            places = [
                start
                for start in range(len(names) - len(layers) + 1)
                if all(right(layer, name) for layer, name in zip(layers, names[start:], strict=False))
            ]
            if not places or (len(places) > 1 and places[0] != 0):
                break
            starts[kind] = places[0]
        else:
            found = _assigned(file, wanted, sought, kinds, starts)
            if all(found.arrays[parameter] == key for parameter, key in named.arrays.items()):
                complete.append(((len(found.arrays), 0, False), found))
    if complete:
        return _best(file, complete)
    if any(facts.named for facts in file.layers.values()):
        return None
    largest = max(containers.values(), key=lambda kinds: sum(len(names) for names in kinds.values()))
    return _assigned(file, wanted, sought, largest, dict.fromkeys(sought, 0))


def _assigned(
    file: WeightFile,
    wanted: Mapping[str, Key],
    sought: Mapping[str, list[str]],
    kinds: Mapping[str, list[str]],
    starts: Mapping[str, int],
) -> Found:
    """Our layers of every class one after the other, from where their run starts."""
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for kind, layers in sought.items():
        for layer, name in zip(layers, kinds.get(kind, [])[starts[kind] :], strict=False):
            names[layer] = name
            numbers[kind] += 1
    found = Found()
    for parameter, (layer, role) in wanted.items():
        if layer in names and (names[layer], role) in file.arrays:
            found.arrays[parameter] = (names[layer], role)
            found.how[parameter] = "by order and shape"
        else:
            found.missing.append(parameter)
    return found
