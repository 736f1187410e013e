"""The same persons in every form of MPII's annotations that people have, in small and with the true structure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpii_helpers import EMPTY, picture, point, rectangle, write
from PIL import Image
from scipy.io import savemat

COCO_NAMES = [
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "throax", "upper_neck", "head_top",
    "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
]  # fmt: skip


@dataclass(frozen=True)
class Somebody:
    """joints: MPII id -> x, y counted from 1. box: head, two corners. center, scale: MPII's."""

    image: str
    joints: dict[int, tuple[float, float]]
    box: tuple[float, float, float, float]
    center: tuple[float, float]
    scale: float


def crowd(seed: int = 0) -> list[Somebody]:
    """Four persons in three pictures, two of them in one; not every joint of everyone is annotated."""
    rng = np.random.default_rng(seed)
    people = []
    for number, image in enumerate(("one.jpg", "two.jpg", "two.jpg", "three.jpg")):
        known = sorted(rng.permutation(16)[: 16 - 3 * number].tolist())
        joints = {i: (float(x), float(y)) for i, (x, y) in zip(known, np.round(rng.uniform(5, 90, (16, 2)), 4), strict=False)}
        x, y = rng.integers(10, 60, 2).tolist()
        people.append(Somebody(image, joints, (x, y, x + 20.0, y + 25.0), (50.0 + number, 40.0), 0.4 + number / 10))
    return people


def pictures(folder: Path, people: list[Somebody]) -> None:
    (folder / "images").mkdir(parents=True)
    for name in {person.image for person in people}:
        Image.new("RGB", (120, 100), (90, 100, 50)).save(folder / "images" / name)


def write_mat(folder: Path, people: list[Somebody]) -> Path:
    of_picture: dict[str, list[dict[str, Any]]] = {}
    for person in people:
        points = [point(x, y, mpii_id, EMPTY) for mpii_id, (x, y) in person.joints.items()]
        x1, y1, x2, y2 = person.box
        corners = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        found = rectangle(*points, scale=person.scale, x=person.center[0], y=person.center[1], **corners)
        of_picture.setdefault(person.image, []).append(found)
    return write(folder, [picture(name, *found) for name, found in of_picture.items()], [1] * len(of_picture))


def hrnet(people: list[Somebody], shift: float = 0) -> list[dict[str, Any]]:
    return [
        {
            "joints_vis": [int(i in person.joints) for i in range(16)],
            "joints": [[v + shift for v in person.joints[i]] if i in person.joints else [-1.0, -1.0] for i in range(16)],
            "image": person.image,
            "scale": person.scale,
            "center": [value + shift for value in person.center],
        }
        for person in people
    ]


def ground_truth(people: list[Somebody]) -> dict[str, np.ndarray]:
    """As in gt_valid.mat."""
    boxes, joints, missing = np.zeros((2, 2, len(people))), np.zeros((16, 2, len(people))), np.ones((16, len(people)))
    for number, person in enumerate(people):
        boxes[:, :, number] = np.reshape(person.box, (2, 2))
        for i, place in person.joints.items():
            joints[i, :, number], missing[i, number] = place, 0
    return {"headboxes_src": boxes, "pos_gt_src": joints, "jnt_missing": missing}


def coco(people: list[Somebody], **fields: Any) -> dict[str, Any]:
    """With centre and scale, as converted from the above; head boxes too."""
    images = list(dict.fromkeys(person.image for person in people))
    annotations = []
    for number, person in enumerate(people):
        values = [v for i in range(16) for v in ((*person.joints[i], 1) if i in person.joints else (0, 0, 0))]
        annotations.append(
            {"id": number, "image_id": images.index(person.image), "category_id": 1, "iscrowd": 0, "keypoints": values,
             "center": list(person.center), "scale": person.scale, "head_box": list(person.box)}
        )  # fmt: skip
    categories = [{"id": 1, "name": "person", "keypoints": COCO_NAMES}]
    files = [{"id": i, "file_name": name, "width": 120, "height": 100} for i, name in enumerate(images)]
    return {"images": files, "annotations": annotations, "categories": categories} | fields


def write_form(form: str, folder: Path, people: list[Somebody]) -> Path:
    """The file of one form in a data set of its own, its pictures beside it."""
    pictures(folder, people)
    if form == "mat":
        return write_mat(folder, people)
    below, name, boxes = {
        "hrnet": ("annot", "valid.json", "gt_valid.mat"),
        "mmpose": ("annotations", "mpii_val.json", "mpii_gt_val.mat"),
        "counted from 0": ("annot", "valid.json", "gt_valid.mat"),
        "coco": ("annotations", "person_keypoints_mpii.json", ""),
    }[form]
    (folder / below).mkdir()
    content = coco(people) if form == "coco" else hrnet(people, -1 if form == "counted from 0" else 0)
    (folder / below / name).write_text(json.dumps(content))
    if boxes:
        savemat(folder / below / boxes, ground_truth(people))
    return folder / below / name
