"""Who of MPII is trained on and who validated: divided at random, picture by picture, or as a file says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from epcore.data.record import Record

VALIDATION_SHARE = 3 / 29  # the paper: 26K persons to train, 3K to validate
SPLITS = ("train", "validation")


def split_names(names: Sequence[str], *, seed: int = 0, share: float = VALIDATION_SHARE) -> tuple[list[str], list[str]]:
    """Divide persons ("picture#number") at random into train and validation, share of them for validation.

    All persons of a picture go to the same side, so validation is never of a picture that was trained on.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, expected more than 0 and less than 1")
    wanted = round(share * len(names))
    pictures: dict[str, int] = {}
    for name in names:
        picture = name.rpartition("#")[0]
        pictures[picture] = pictures.get(picture, 0) + 1
    order = np.random.default_rng(seed).permutation(sorted(pictures))
    chosen: set[str] = set()
    persons = 0
    for picture in order:
        if persons >= wanted:
            break
        chosen.add(str(picture))
        persons += pictures[str(picture)]
    sides: tuple[list[str], list[str]] = ([], [])
    for name in names:
        sides[name.rpartition("#")[0] in chosen].append(name)
    return sides


def read_split(path: str | os.PathLike[str]) -> set[str]:
    """Names in a split file: one "picture.jpg" (all its persons) or "picture.jpg#number" a line; # at its start: a comment."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no split file {path}")
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text, expected one picture or person a line") from None
    names = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    if not names:
        raise ValueError(f"{path} names no pictures")
    return names


def records_of_split(
    records: list[Record], split: str, *, seed: int = 0, split_file: str | os.PathLike[str] | None = None
) -> list[Record]:
    """Persons of "train" or "validation"; with a split file those that it names, whatever the split is called.

    Raises FileNotFoundError, and ValueError for a file that is not text or names who is not there.
    """
    names = [record.name for record in records]
    if split_file is None:
        chosen = set(split_names(names, seed=seed)[SPLITS.index(split)])
        return [record for record in records if record.name in chosen]
    wanted = read_split(split_file)
    known = set(names) | {name.rpartition("#")[0] for name in names}
    unknown = sorted(wanted - known)
    if unknown:
        raise ValueError(f"{split_file}: {len(unknown)} names are not in the annotations, the first: {unknown[0]}")
    return [record for record in records if record.name in wanted or record.name.rpartition("#")[0] in wanted]
