"""What an import did: every array with its source, its target and its digest, and what was left over on either side."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Match:
    """One array that was imported from a file.

    transformation: how it was changed on the way ("" for not at all). found: how it was found there, in words: "by name", "by
    name below efficientnetb0/", "by name, counter _1", "by order and shape".
    """

    file: str
    source: str
    target: str
    shape: tuple[int, ...]
    dtype: str
    transformation: str
    sha256: str
    found: str = "by name"


@dataclass
class Source:
    """One weight file, its digest over the whole file."""

    path: str
    layout: str
    sha256: str


@dataclass
class Manifest(Source):
    """matched arrays, parameters of the model that the file lacks, arrays of the file that the model does not use.

    low: the second file, where the low-resolution branch has its own. kept: parameters that were not looked for, as the files
    hold backbones alone. unread: what is in the files and cannot be read as an array, and why.
    """

    low: Source | None = None
    matched: list[Match] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        files = [self, self.low] if self.low else [self]
        lines = [
            *(f"{file.path}: {file.layout}, sha256 {file.sha256}" for file in files),
            f"{len(self.matched)} arrays matched, {len(self.missing)} missing, {len(self.unused)} unused",
        ]
        ways = Counter(match.found for match in self.matched)
        lines += [f"  {count} found {way}" for way, count in ways.items() if len(ways) > 1 or way != "by name"]
        lines += [f"  missing {name}" for name in self.missing] + [f"  unused {name}" for name in self.unused]
        lines += [f"  not read: {entry}" for entry in self.unread]
        return "\n".join(lines)


def file_sha256(path: str | PathLike[str]) -> str:
    """Of the whole file. Raises OSError."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def digest(array: np.ndarray) -> str:
    """SHA-256 of the array's bytes in C order."""
    return hashlib.sha256(array.tobytes()).hexdigest()
