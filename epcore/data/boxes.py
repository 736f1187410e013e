"""Boxes of persons, as detectors and annotators write them: COCO's detections, COCO's ground truth, or CSV.

    detections     [{"image_id": 7, "bbox": [x, y, width, height], "category_id": 1, "score": 0.9}, ...]
    ground truth   {"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [{"id": 3, "image_id": 7, "bbox": [...]}]}
    CSV            columns image, x, y, width, height and, if there, id

Of other categories than 1, a person, boxes are left out. A person's id is the entry's own, or its number in the file, from 0. A
picture is told by its file's name, with or without folders and ending; a number is also that of 000000000007.jpg.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from epcore.data.json_fields import Entry, as_number, check_crowds, load_json, shown
from epcore.pose.box import Box

PERSON = 1  # COCO's category
MAXIMUM_BYTES = 64 << 20
_COLUMNS = ("image", "x", "y", "width", "height")


@dataclass(frozen=True)
class PersonBox:
    """image: as the file calls the picture. id: of the person. box: in its pixels."""

    image: str
    id: str
    box: Box


@dataclass(frozen=True)
class PersonBoxes:
    """Those of a file, in its order."""

    boxes: tuple[PersonBox, ...]

    def of(self, path: str | os.PathLike[str]) -> list[PersonBox]:
        """Those of one picture."""
        return [self.boxes[number] for number in self.numbers(path)]

    def numbers(self, path: str | os.PathLike[str]) -> list[int]:
        """Places in `boxes` of those of one picture."""
        return sorted({number for name in _names(Path(path)) for number in self._by_name.get(name, ())})

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for number, each in enumerate(self.boxes):
            for name in _names(Path(each.image)):
                found.setdefault(name, []).append(number)
        return found


def _names(path: Path) -> set[str]:
    """What a picture goes by."""
    found = {path.name, path.stem}
    return found | {str(int(name)) for name in found if name.isascii() and name.isdecimal() and len(name) <= 20}


def read_boxes(path: str | os.PathLike[str]) -> PersonBoxes:
    """A file of boxes. Raises FileNotFoundError; ValueError naming entry and what was expected, also where there are none."""
    path = Path(path)
    if path.suffix.lower() == ".csv":
        found = list(_from_csv(path))
    else:
        content = load_json(path)
        if not isinstance(content, list | dict):
            raise ValueError(f"{path} holds {shown(content)}, expected a list of detections, or images and annotations")
        found = list(_detections(path, content) if isinstance(content, list) else _ground_truth(path, content))
    if not found:
        raise ValueError(f"{path} holds no box of a person")
    of_picture: dict[str, list[int]] = {}
    for number, each in enumerate(found):
        of_picture.setdefault(each.image, []).append(number)
    check_crowds(path, of_picture)
    return PersonBoxes(tuple(found))


def _detections(path: Path, content: list[object]) -> Iterator[PersonBox]:
    for number, value in enumerate(content):
        entry = Entry.of(path, f"detection {number}", value)
        if _is_person(entry):
            yield PersonBox(str(_identifier(entry, "image_id")), _person(entry, number), _box(entry))


def _ground_truth(path: Path, content: dict[str, object]) -> Iterator[PersonBox]:
    file = Entry.of(path, "the file", content)
    images = {}
    for number, value in enumerate(file.items("images", None, "a list of images")):
        entry = Entry.of(path, f"images[{number}]", value)
        images[_identifier(entry, "id")] = entry.file_name("file_name")
    for number, value in enumerate(file.items("annotations", None, "a list of annotations")):
        entry = Entry.of(path, f"annotations[{number}]", value)
        if not _is_person(entry):
            continue
        if (image := images.get(_identifier(entry, "image_id"))) is None:
            raise entry.wrong("image_id", "the id of one of the images")
        yield PersonBox(image, _person(entry, number), _box(entry))


def _is_person(entry: Entry) -> bool:
    return not entry.has("category_id") or entry.number("category_id", "a number, 1 for persons") == PERSON


def _identifier(entry: Entry, name: str) -> int | str:
    value = entry.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise entry.wrong(name, "a whole number or a text")
    return value


def _person(entry: Entry, number: int) -> str:
    return str(_identifier(entry, "id")) if entry.has("id") else str(number)


def _box(entry: Entry) -> Box:
    numbers = entry.numbers("bbox", 4, "x, y, width, height")
    try:
        return Box(*numbers)
    except ValueError as error:
        raise ValueError(f"{entry.path}: {entry.where}: {error}") from None


def _from_csv(path: Path) -> Iterator[PersonBox]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if (size := path.stat().st_size) > MAXIMUM_BYTES:
        raise ValueError(f"{path} has {size} bytes, expected boxes of at most {MAXIMUM_BYTES}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text), strict=True)
        names = rows.fieldnames or []
        if missing := [name for name in _COLUMNS if name not in names]:
            raise ValueError(f"{path} has no column {missing[0]}, expected a first line with {', '.join(_COLUMNS)}")
        for number, row in enumerate(rows):
            yield _of_row(path, number, row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not readable CSV: {error}") from None


def _of_row(path: Path, number: int, row: dict[str, str | None]) -> PersonBox:
    where = f"{path}: row {number + 1}"
    if not row["image"]:
        raise ValueError(f"{where}: image is missing, expected the name of a picture")
    numbers = []
    for name in _COLUMNS[1:]:
        try:
            value = as_number(float(row[name] or ""))
        except ValueError:
            value = None
        if value is None:
            raise ValueError(f"{where}: {name} is {shown(row[name])}, expected a finite number")
        numbers.append(value)
    try:
        return PersonBox(row["image"], row.get("id") or str(number), Box(*numbers))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
