"""What the planner decided for a step, by the machine. Any other decision gives the same bits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """Of what a step knows, the others are 0. rows x group: output rows and channels of a band's task; strip: pixels of a
    depthwise layer summed at once; chunk: pixels of a product's task; ahead: whether a tile asks for the pixels of the next."""

    rows: int = 0
    group: int = 0
    strip: int = 0
    chunk: int = 0
    ahead: bool = False

    def __str__(self) -> str:
        parts = [f"band {self.rows}x{self.group}"] if self.rows else []
        parts += [f"{name} {value}" for name, value in (("strip", self.strip), ("chunk", self.chunk)) if value]
        return " ".join([*parts, *(["ahead"] if self.ahead else [])])


NOTHING = Choice()  # of steps of which there is nothing to choose
