"""Fields of other people's JSON files, each checked: an error names file, entry, what is there and what was expected."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAXIMUM_BYTES = 64 << 20  # all of MPII as JSON has some 20 MB
MAXIMUM_VALUES = 5_000_000  # and two million values, each of which takes up to a hundred bytes once it is parsed
MAXIMUM_PERSONS = 500  # in one picture, each of whom is told of all others; MPII's fullest has fewer than twenty
_SHOWN = 40


def load_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds. Raises FileNotFoundError; ValueError for what is too large, no JSON, or nested without end."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if (size := path.stat().st_size) > MAXIMUM_BYTES:
        raise ValueError(f"{path} has {size} bytes, expected annotations of at most {MAXIMUM_BYTES}")
    content = path.read_bytes()
    values = sum(map(content.count, (b"[", b"{", b",")))  # at least as many as there are, texts aside
    if values > MAXIMUM_VALUES:
        raise ValueError(f"{path} holds some {values} values, expected annotations of at most {MAXIMUM_VALUES}")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{path} nests too deeply, expected annotations") from None
    except MemoryError:
        raise ValueError(f"{path} does not fit into memory") from None
    except ValueError as error:  # no UTF-8, no JSON, a number of thousands of digits
        raise ValueError(f"{path} is not readable JSON: {error}") from None


def shown(value: Any) -> str:
    """A value for a message, cut short; built of what it is, without writing all of it."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:  # Python refuses to write very long ones
        return "a number too large"
    text = json.dumps(value if not isinstance(value, str) else value[:_SHOWN])
    return text if not isinstance(value, str) or len(value) <= _SHOWN else f"{text[:-1]}..."


def as_number(value: Any) -> float | None:
    """A finite number; None for all else, truth values and numbers beyond doubles among it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def check_crowds(path: Path, of_picture: Mapping[str, Sequence[int]]) -> None:
    """Raises ValueError for a picture of more persons than any has."""
    for name, numbers in of_picture.items():
        if len(numbers) > MAXIMUM_PERSONS:
            raise ValueError(f"{path}: {shown(name)} has {len(numbers)} persons, expected at most {MAXIMUM_PERSONS}")


@dataclass(frozen=True)
class Entry:
    """One object of a file. where: how a message calls it, "entry 12"."""

    path: Path
    where: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, path: Path, where: str, value: Any) -> Entry:
        """Raises ValueError for what is no object."""
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {where} is {shown(value)}, expected an object with named fields")
        return cls(path, where, value)

    def wrong(self, name: str, expected: str) -> ValueError:
        found = f"is {shown(self.fields[name])}" if name in self.fields else "is missing"
        return ValueError(f"{self.path}: {self.where}: {name} {found}, expected {expected}")

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def number(self, name: str, expected: str = "a number") -> float:
        number = as_number(self.fields.get(name))
        if number is None:
            raise self.wrong(name, expected)
        return number

    def text(self, name: str, expected: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or not value or "\0" in value:
            raise self.wrong(name, expected)
        return value

    def file_name(self, name: str) -> str:
        """A picture's name below the folder of pictures, never elsewhere."""
        value = self.text(name, "the file name of a picture")
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise self.wrong(name, "a file below the folder of pictures")
        return value.removeprefix("images/")

    def items(self, name: str, count: int | None, expected: str) -> list[Any]:
        value = self.fields.get(name)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.wrong(name, expected)
        return value

    def numbers(self, name: str, count: int, expected: str) -> list[float]:
        return self.all_numbers(name, self.items(name, count, expected))

    def all_numbers(self, name: str, values: Sequence[Any]) -> list[float]:
        """name: with an index, of which field these are."""
        found = []
        for index, value in enumerate(values):
            number = as_number(value)
            if number is None:
                raise ValueError(f"{self.path}: {self.where}: {name}[{index}] is {shown(value)}, expected a finite number")
            found.append(number)
        return found
