"""Annotations as a few large arrays and back: so they come out of the process in which their file is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from epcore.data.record import Person, Record


def plain_records(records: list[Record]) -> dict[str, Any]:
    """Everything but pixels; pictures by their names. Others that are no record's person are there too."""
    persons: dict[int, tuple[int, Person]] = {}
    for record in records:
        for person in (record.person, *record.others):
            persons.setdefault(id(person), (len(persons), person))
    everyone = [person for _, person in persons.values()]
    nobody = np.full(4, np.nan)
    return {
        "names": [record.name for record in records],
        "images": [str(record.image) for record in records],
        "keypoints": np.array([person.keypoints for person in everyone]),
        "annotated": np.array([person.annotated for person in everyone]),
        "visible": np.array([person.visible for person in everyone]),
        "person": [persons[id(record.person)][0] for record in records],
        "others": [[persons[id(person)][0] for person in record.others] for record in records],
        "centers": np.array([record.center for record in records]),
        "scales": [float(record.scale) for record in records],
        "boxes": np.array([nobody if record.head_box is None else record.head_box for record in records]),
    }


def records_of(plain: dict[str, Any], images: Path) -> list[Record]:
    """The records again, their pictures in that folder. Raises ValueError, IndexError, ... for what is no such thing."""
    persons = [
        Person(keypoints, annotated, visible)
        for keypoints, annotated, visible in zip(plain["keypoints"], plain["annotated"], plain["visible"], strict=True)
    ]
    rows = zip(
        *(plain[key] for key in ("names", "images", "person", "others", "centers", "scales", "boxes")),
        strict=True,
    )
    return [
        Record(
            name,
            images / image,
            persons[person],
            center,
            scale,
            None if np.isnan(box).any() else box,
            tuple(persons[other] for other in others),
        )
        for name, image, person, others, center, scale, box in rows
    ]
