"""MPII as HRNet, MMPose and their relatives keep it: a JSON list of persons, and head boxes in a .mat beside it.

    [{"image": "015601864.jpg", "center": [594.0, 257.0], "scale": 3.021046,
      "joints": [[620.0, 394.0], ... 16 of them, in the order of MPII's ids], "joints_vis": [1, ... 16 of them]}, ...]

These are the numbers of the original .mat, copied: MATLAB's, whole at pixels' centres and counted from 1 (HRNet's
lib/dataset/mpii.py subtracts 1 from centre and joints). `joints_vis` is 1 where a joint is annotated, hidden ones included, and
nothing tells which are hidden. A centre of [-1, -1] is none. Files of the test pictures lack both joint fields.

`gt_valid.mat` (MMPose: `mpii_gt_val.mat`) has for the same persons in the same order headboxes_src (2,2,N), corners, and
pos_gt_src (16,2,N), the joints once more, counted from 1: by them a JSON file that somebody counted from 0 is recognised.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from epcore.base.guarded import read_guarded
from epcore.data.json_fields import Entry, as_number, check_crowds
from epcore.data.mat_file import MAT_LIMITS, load_mat
from epcore.data.mpii_annotations import Annotations, clean_box
from epcore.data.record import Person, Record
from epcore.pose.skeleton import MPII_IDS

FORMAT = "MPII JSON (HRNet, MMPose)"
_BOXES = {"valid": "gt_valid.mat", "mpii_val": "mpii_gt_val.mat"}  # of which JSON file
_J = len(MPII_IDS)
_CENTRE = 0.5  # of a pixel, from its corner
_MOVED = 0.25  # pixels; how far the median joint may be from where it should be


def read_persons(path: Path, content: list[Any], images: str | os.PathLike[str], first_pixel: int | None) -> Annotations:
    """As `annotations.read_people` does. Raises ValueError naming file, entry and what was expected."""
    entries = [Entry.of(path, f"entry {number}", value) for number, value in enumerate(content)]
    names = [entry.file_name("image") for entry in entries]
    if entries and not any("joints" in entry.fields for entry in entries):
        notes = ["no keypoints: a file of the test pictures"]
        return Annotations([], len(set(names)), 0, [], FORMAT, notes)
    joints = [_joints(entry) for entry in entries]
    boxes, counted_from, notes = _head_boxes(path, joints)
    first = first_pixel if first_pixel is not None else counted_from
    corner = first - _CENTRE
    notes.append(f"coordinates: counted from {first}" + (" (taken as MATLAB's)" if first == 1 and boxes is None else ""))
    notes.append("joints_vis says which are annotated; which are hidden is not told")
    problems: list[str] = []
    people = [_person(points, corner) for points in joints]
    of_picture: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        of_picture.setdefault(name, []).append(number)
    check_crowds(path, of_picture)
    records = []
    for number, (entry, name, person) in enumerate(zip(entries, names, people, strict=True)):
        label = f"{name}#{of_picture[name].index(number)}"
        x, y = entry.numbers("center", 2, "two numbers, x and y")
        scale = entry.number("scale")
        if person is None:
            continue
        if (x, y) == (-1, -1) or scale <= 0:
            problems.append(f"{label}: no centre or scale, cannot be cropped")
            continue
        box = None if boxes is None else clean_box(boxes[number], label, problems)
        others = tuple(other for i in of_picture[name] if i != number and (other := people[i]) is not None)
        records.append(Record(label, Path(images) / name, person, np.array([x, y]) - corner, scale, box, others))
    return Annotations(records, len(of_picture), len(of_picture), problems, FORMAT, notes)


def _joints(entry: Entry) -> np.ndarray:
    """(J,2) in the order of MPII's ids, as in the file, NaN where not annotated."""
    joints = entry.items("joints", _J, f"a list of {_J} points")
    flags = entry.numbers("joints_vis", _J, f"a list of {_J} numbers, 1 where annotated")
    points = np.full((_J, 2), np.nan)
    for index, (joint, flag) in enumerate(zip(joints, flags, strict=True)):
        if flag not in (0, 1, 2):
            raise ValueError(f"{entry.path}: {entry.where}: joints_vis[{index}] is {flag:g}, expected 0 or 1")
        if not isinstance(joint, list) or len(joint) < 2:
            raise ValueError(f"{entry.path}: {entry.where}: joints[{index}] is no point, expected two numbers, x and y")
        if flag:
            points[index] = entry.all_numbers(f"joints[{index}]", joint[:2])
    return points


def _person(points: np.ndarray, corner: float) -> Person | None:
    keypoints = points[list(MPII_IDS)] - corner
    annotated = ~np.isnan(keypoints[:, 0])
    return Person(keypoints, annotated, annotated) if annotated.any() else None


def _head_boxes(path: Path, joints: list[np.ndarray]) -> tuple[np.ndarray | None, int, list[str]]:
    """((N,4) in our pixels or None, what joints are counted from, notes). The .mat is MATLAB's whatever the joints are."""
    name = _BOXES.get(path.stem)
    if name is None or not (path.parent / name).is_file():
        expected = f"expected in {name} beside it" if name else "files of this kind have them for the validation set only"
        return None, 1, [f"no head boxes ({expected}): PCKh cannot be computed, all else can"]
    mat = path.parent / name
    content = read_guarded("epcore.data.mpii_json:plain_head_boxes", mat, MAT_LIMITS)
    boxes = _array(mat, content, "headboxes_src", (2, 2, len(joints)), path)
    truth = _array(mat, content, "pos_gt_src", (_J, 2, len(joints)), path)
    # (corner, axis, person) -> (person, x1 y1 x2 y2)
    return (
        boxes.transpose(2, 0, 1).reshape(-1, 4) - (1 - _CENTRE),
        _counted_from(path, mat, joints, truth),
        [f"head boxes from {name}"],
    )


def plain_head_boxes(mat: str) -> dict[str, Any]:
    """The variables that are needed of gt_valid.mat and its like, for another process."""
    return load_mat(mat, ["headboxes_src", "pos_gt_src"])


def _array(mat: Path, content: dict[str, Any], name: str, shape: tuple[int, ...], beside: Path) -> np.ndarray:
    if name not in content:
        raise ValueError(f"{mat} has no variable {name}, expected it for the persons of {beside.name}")
    array = np.asarray(content[name])
    if shape[-1] == 1 and array.shape == shape[:-1]:  # MATLAB drops last axes of 1
        array = array[..., None]
    if array.shape != shape or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{mat}: {name} is {array.dtype} of shape {array.shape}, expected numbers of {shape}, as {beside.name} has "
            f"{shape[-1]} persons"
        )
    return array.astype(np.float64)


def _counted_from(path: Path, mat: Path, joints: list[np.ndarray], truth: np.ndarray) -> int:
    """0 or 1, by comparison with joints that are counted from 1. Raises ValueError where the persons are others."""
    offsets = np.stack(joints) - truth.transpose(2, 0, 1) if joints else np.zeros((0, _J, 2))
    known = offsets[np.isfinite(offsets).all(axis=2)]
    if not len(known):
        return 1
    middle = np.median(known, axis=0)
    first = next((first for first in (1, 0) if (np.abs(middle - (first - 1)) <= _MOVED).all()), None)
    if first is None:
        raise ValueError(f"{mat} does not belong to {path.name}: its joints are ({middle[0]:.1f}, {middle[1]:.1f}) pixels away")
    others = [
        number
        for number, each in enumerate(np.abs(offsets - (first - 1)))
        if (there := np.isfinite(each).all(axis=1)).any() and np.median(each[there]) > 1
    ]
    if others:
        raise ValueError(f"{mat} does not belong to {path.name}: {len(others)} persons differ, the first is entry {others[0]}")
    return first


def is_list_of_persons(content: Any) -> bool:
    """Whether this is such a file, by its first entry."""
    if not isinstance(content, list):
        return False
    first = content[0] if content else {}
    return isinstance(first, dict) and (
        not first or "joints" in first or "image" in first or as_number(first.get("scale")) is not None
    )
