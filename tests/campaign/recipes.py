"""Files that made epcore fail once, as small as they can be made: every one is tried by the ordinary tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """kind: as in `seeds`. name: of the file. make: its content. through: "library" or "command"."""

    kind: str
    name: str
    make: Callable[[], bytes]
    through: str = "library"


RECIPES: dict[str, Recipe] = {}
