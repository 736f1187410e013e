"""Choices of which a port may have made some otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

MOST = 2  # made otherwise at once


class Choices(NamedTuple):
    """chosen: by the name of the choice. said: (what is done otherwise, what is right) of each that is not the right one."""

    chosen: dict[str, str]
    said: tuple[tuple[str, str], ...]


def ways(table: Mapping[str, Mapping[str, str]]) -> Iterator[Choices]:
    """All right first, then one otherwise, then two. table: name of a choice -> option -> what is right instead; the first
    option is the right one."""
    right = {name: next(iter(options)) for name, options in table.items()}
    for count in range(MOST + 1):
        for names in combinations(table, count):
            yield from _otherwise(table, right, names, ())


def _otherwise(
    table: Mapping[str, Mapping[str, str]], chosen: dict[str, str], names: tuple[str, ...], said: tuple[tuple[str, str], ...]
) -> Iterator[Choices]:
    if not names:
        yield Choices(chosen, said)
        return
    options: Iterable[tuple[str, str]] = list(table[names[0]].items())[1:]
    for option, right in options:
        yield from _otherwise(table, chosen | {names[0]: option}, names[1:], (*said, (option, right)))
