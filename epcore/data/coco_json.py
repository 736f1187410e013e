"""MPII as people convert it for COCO's tools: {"images": [...], "annotations": [...], "categories": [...]}.

    images       {"id": 7, "file_name": "015601864.jpg"}
    categories   {"keypoints": ["r_ankle", ...]}, by which keypoints are told; without it the order of MPII's ids
    annotations  {"image_id": 7, "keypoints": [x, y, v, ... 48 numbers]}, and any of "center" with "scale" (as MPII has them),
                 "bbox" [x, y, width, height] and "head_box" or "headbox" [x1, y1, x2, y2]

Converters copy MPII's coordinates, which are MATLAB's, counted from 1; COCO itself counts from 0, and whoever has a file that
does says `first_pixel=0`. v is 0 for unknown, 1 hidden, 2 visible; where a file has no 2, 1 says known only, as converters
write it. Without centre and scale the box's middle and its larger side (a person's height, scale * 200 pixels) serve.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from epcore.data.json_fields import Entry, check_crowds, shown
from epcore.data.mpii_annotations import Annotations, clean_box
from epcore.data.record import Person, Record
from epcore.pose.box import SCALE_PIXELS
from epcore.pose.skeleton import KEYPOINTS, MPII_IDS

FORMAT = "MPII in COCO's form"
_J = len(KEYPOINTS)
_SAID_OTHERWISE = {
    "throax": "thorax",  # as a converter that many copied spells it
    "neck": "upper_neck",
    "head": "head_top",
    "top_head": "head_top",
    "hip": "pelvis",
}


def read_coco(path: Path, content: dict[str, Any], images: str | os.PathLike[str], first_pixel: int | None) -> Annotations:
    """As `annotations.read_people` does. Raises ValueError naming file, entry and what was expected."""
    file = Entry.of(path, "the file", content)
    pictures = _pictures(file)
    order = _order(file)
    annotations = [
        Entry.of(path, f"annotations[{number}]", value)
        for number, value in enumerate(file.items("annotations", None, "a list of annotations"))
    ]
    points = [_points(entry, order) for entry in annotations]
    first = 1 if first_pixel is None else first_pixel
    corner = first - 0.5
    hidden_told = any((each[:, 2] == 2).any() for each in points)
    people = [_person(each, corner, hidden_told) for each in points]
    of_picture: dict[str, list[int]] = {}
    for number, entry in enumerate(annotations):
        if (identifier := _identifier(entry, "image_id")) not in pictures:
            raise entry.wrong("image_id", "the id of one of the images")
        of_picture.setdefault(pictures[identifier], []).append(number)
    check_crowds(path, of_picture)
    records: list[Record] = []
    problems: list[str] = []
    for name, numbers in of_picture.items():
        for count, number in enumerate(numbers):
            person, entry, label = people[number], annotations[number], f"{name}#{count}"
            if person is None:
                continue
            place = _place(entry, corner)
            if place is None:
                problems.append(f"{label}: neither centre and scale nor a box, cannot be cropped")
                continue
            others = tuple(other for i in numbers if i != number and (other := people[i]) is not None)
            records.append(
                Record(label, Path(images) / name, person, *place, _head_box(entry, corner, label, problems), others)
            )
    notes = [f"coordinates: counted from {first}" + (" (as MPII has them, copied)" if first_pixel is None else "")]
    if not hidden_told:
        notes.append("v says which keypoints are known; which are hidden is not told")
    if not any(record.head_box is not None for record in records):
        notes.append("no head boxes (expected as head_box of annotations): PCKh cannot be computed, all else can")
    return Annotations(records, len(set(pictures.values())), len(of_picture), problems, FORMAT, notes)


def _identifier(entry: Entry, name: str) -> int | str:
    value = entry.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise entry.wrong(name, "a whole number or a text")
    return value


def _pictures(file: Entry) -> dict[int | str, str]:
    """id -> file name."""
    found: dict[int | str, str] = {}
    for number, value in enumerate(file.items("images", None, "a list of images")):
        entry = Entry.of(file.path, f"images[{number}]", value)
        identifier, name = _identifier(entry, "id"), entry.file_name("file_name")
        if found.setdefault(identifier, name) != name:
            raise entry.wrong("id", f"an id of its own, {found[identifier]} has the same")
    return found


def _order(file: Entry) -> list[int]:
    """Our index of every keypoint of the file, in its order."""
    names: list[Any] = []
    if file.has("categories"):
        for number, value in enumerate(file.items("categories", None, "a list of categories")):
            category = Entry.of(file.path, f"categories[{number}]", value)
            names = names or (category.items("keypoints", None, "a list of names") if category.has("keypoints") else [])
    if not names:
        return [MPII_IDS.index(mpii_id) for mpii_id in range(_J)]
    ours = [_our_name(name) for name in names]
    if sorted(ours) != sorted(KEYPOINTS):
        odd = next((name for name, our in zip(names, ours, strict=True) if our not in KEYPOINTS), None)
        what = f"{len(names)} keypoints" + (f", {shown(odd)} among them" if odd is not None else "")
        raise ValueError(f"{file.path}: categories name {what}, expected MPII's {_J}: {', '.join(KEYPOINTS)}")
    return [KEYPOINTS.index(name) for name in ours]


def _our_name(name: Any) -> str:
    said = str(name)[:40].lower().replace(" ", "_").replace("-", "_") if isinstance(name, str) else ""
    for short, side in (("r_", "right_"), ("l_", "left_")):
        said = side + said.removeprefix(short) if said.startswith(short) else said
    return _SAID_OTHERWISE.get(said, said)


def _points(entry: Entry, order: list[int]) -> np.ndarray:
    """(J,3) x, y, v of the file in our order."""
    values = entry.numbers("keypoints", 3 * _J, f"a list of {3 * _J} numbers: x, y and v of {_J} keypoints")
    points = np.empty((_J, 3))
    points[order] = np.reshape(values, (_J, 3))
    if (wrong := ~np.isin(points[:, 2], (0, 1, 2))).any():
        raise ValueError(f"{entry.path}: {entry.where}: keypoints has a v of {points[wrong][0, 2]:g}, expected 0, 1 or 2")
    return points


def _person(points: np.ndarray, corner: float, hidden_told: bool) -> Person | None:
    annotated = points[:, 2] > 0
    keypoints = np.where(annotated[:, None], points[:, :2] - corner, np.nan)
    visible = points[:, 2] == 2 if hidden_told else annotated
    return Person(keypoints, annotated, visible) if annotated.any() else None


def _place(entry: Entry, corner: float) -> tuple[np.ndarray, float] | None:
    """(centre, scale), or None where nothing tells."""
    if entry.has("center") and entry.has("scale"):
        center, scale = entry.numbers("center", 2, "two numbers, x and y"), entry.number("scale")
        return (np.array(center) - corner, scale) if center != [-1, -1] and scale > 0 else None
    if not entry.has("bbox") or not entry.fields["bbox"]:
        return None
    x, y, width, height = entry.numbers("bbox", 4, "four numbers: x, y, width, height")
    if width <= 0 or height <= 0:
        return None
    return np.array([x + width / 2, y + height / 2]) - corner, max(width, height) / SCALE_PIXELS


def _head_box(entry: Entry, corner: float, label: str, problems: list[str]) -> np.ndarray | None:
    name = next((name for name in ("head_box", "headbox") if entry.has(name)), None)
    if name is None:
        return None
    return clean_box(np.array(entry.numbers(name, 4, "four numbers: x1, y1, x2, y2")) - corner, label, problems)
