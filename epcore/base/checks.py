"""What users give, checked; the messages say what came and what was expected."""

from __future__ import annotations


def check_whole(value: object, name: str, lowest: int = 1, highest: int | None = None, *, note: str = "") -> int:
    """The value, if it is a whole number from lowest to highest. Raises ValueError, with the name and the note, for others."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest or (highest is not None and value > highest):
        which = f"above {lowest - 1}" if highest is None else f"from {lowest} to {highest}"
        raise ValueError(f"{name} is {value!r}, expected a whole number {which}{note}")
    return value
