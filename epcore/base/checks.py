"""What users give, checked; the messages say what came and what was expected."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

# Bounds of what has no others. Not what is sensible but what a slip is far beyond: 20 digits, 1e30.
SEEDS = 2**63 - 1
COUNT = 10_000_000  # pictures of an epoch and the like: their order lies in memory
SIDE = 4096  # pixels
PROCESSES = 256
FACTOR = 1e6


def check_whole(value: object, name: str, lowest: int = 1, highest: int | None = None, *, note: str = "") -> int:
    """The value, if it is a whole number from lowest to highest. Raises ValueError, with the name and the note, for others."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest or (highest is not None and value > highest):
        which = f"above {lowest - 1}" if highest is None else f"from {lowest} to {highest}"
        raise ValueError(f"{name} is {value!r}, expected a whole number {which}{note}")
    return value


def check_real(value: object, name: str, lowest: float, highest: float, *, above: bool = False) -> float:
    """The value, if it is a number from lowest to highest, above: more than the lowest. Raises ValueError, with the name."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if lowest <= number <= highest and not (above and number == lowest):
        return number
    raise ValueError(f"{name} is {value!r}, expected a number {_range(lowest, highest, above)}")


@dataclass(frozen=True)
class Whole:
    """The type of an option: a whole number from lowest to highest."""

    lowest: int
    highest: int

    def check(self, value: object, name: str) -> None:
        """Raises ValueError, with the name."""
        check_whole(value, name, self.lowest, self.highest)

    def __call__(self, text: str) -> int:
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdecimal() and len(digits) < 100 and self.lowest <= int(text) <= self.highest:
            return int(text)
        raise _refused(text, f"a whole number from {self.lowest} to {self.highest}")


@dataclass(frozen=True)
class Real:
    """The type of an option: a number from lowest to highest; above: more than the lowest."""

    lowest: float
    highest: float
    above: bool = False

    def check(self, value: object, name: str) -> None:
        """Raises ValueError, with the name."""
        check_real(value, name, self.lowest, self.highest, above=self.above)

    def __call__(self, text: str) -> float:
        try:
            return check_real(float(text), "it", self.lowest, self.highest, above=self.above)
        except ValueError:
            raise _refused(text, f"a number {_range(self.lowest, self.highest, self.above)}") from None


def _range(lowest: float, highest: float, above: bool) -> str:
    return f"{f'above {lowest:g}, up to' if above else f'from {lowest:g} to'} {highest:g}"


def _refused(text: str, expected: str) -> argparse.ArgumentTypeError:
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    return argparse.ArgumentTypeError(f"is {shown!r}, expected {expected}")
