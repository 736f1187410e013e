"""Annotations of MPII in whatever form people have them: one way to find them, one to read them.

| form | where |
|---|---|
| the original | `mpii_human_pose_v1_u12_1.mat` (`mpii_annotations`) |
| HRNet and its relatives | `annot/train.json`, `valid.json`, `trainval.json`, head boxes in `gt_valid.mat` (`mpii_json`) |
| MMPose | `annotations/mpii_train.json`, `mpii_val.json`, head boxes in `mpii_gt_val.mat` (`mpii_json`) |
| converted for COCO's tools | any JSON file with images and annotations (`coco_json`) |
"""

from __future__ import annotations

import os
from pathlib import Path

from epcore.data.coco_json import read_coco
from epcore.data.json_fields import load_json, shown
from epcore.data.mpii_annotations import Annotations, find_mat, read_annotations
from epcore.data.mpii_json import is_list_of_persons, read_persons

_JSON_FOLDERS = ("annot", "annotations", "")
_JSON_NAMES = {
    "train": ("train.json", "mpii_train.json"),
    "validation": ("valid.json", "mpii_val.json", "val.json"),
    "both": ("trainval.json", "mpii_trainval.json"),
    "test": ("test.json", "mpii_test.json"),
}


def read_people(path: str | os.PathLike[str], images: str | os.PathLike[str], *, first_pixel: int | None = None) -> Annotations:
    """Read one annotation file of any form. images: the folder of the pictures, which are not looked at here.

    first_pixel: what the centre of the first pixel is called, 0 or 1, in a JSON file that does not do as its form does. The
    same person comes out the same from each form.

    Raises FileNotFoundError, or ValueError for a file that is damaged or is built differently, saying where.
    """
    path = Path(path)
    if first_pixel not in (None, 0, 1):
        raise ValueError(f"first_pixel is {first_pixel!r}, expected 0 or 1")
    if path.suffix.lower() != ".json":
        if first_pixel is not None:
            raise ValueError(f"first_pixel is {first_pixel}, but {path} is no JSON file")
        return read_annotations(path, images)
    content = load_json(path)
    if is_list_of_persons(content):
        return read_persons(path, content, images, first_pixel)
    if isinstance(content, dict) and {"images", "annotations"} & content.keys():
        return read_coco(path, content, images, first_pixel)
    raise ValueError(
        f"{path} holds {shown(content)}, expected a list of persons with image and joints (HRNet, MMPose) or an object with "
        "images and annotations (COCO)"
    )


def annotation_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a data set: the path itself if it is a file, else the original, else all JSON files that are there.

    Raises FileNotFoundError.
    """
    folder = Path(folder)
    try:
        return [find_mat(folder)]
    except FileNotFoundError as error:
        found = [path for use in _JSON_NAMES for path in _json_files(folder, use)]
        if not found:
            message = f"{error}; nor {', '.join(_JSON_NAMES['train'] + _JSON_NAMES['validation'])} in it or in annot"
            raise FileNotFoundError(message if folder.exists() else str(error)) from None
        return found


def file_of_split(folder: str | os.PathLike[str], split: str) -> tuple[Path, bool]:
    """(the file with a split's persons, whether all of it is that split: else it has to be divided).

    split: "train" or "validation". folder: as above; a JSON file whose name says that it is one side of a split stands for its
    folder, so that nobody validates on what was trained on. Raises FileNotFoundError.
    """
    folder = Path(folder)
    files = annotation_files(folder)
    if folder.is_file() and is_one_side(folder):
        if folder.name in _JSON_NAMES[split]:
            return folder, True
        folder = folder.parent
    elif folder.is_file() or files[0].suffix.lower() != ".json":
        return files[0], False
    for use, whole in ((split, True), ("both", False)):
        if found := _json_files(folder, use):
            return found[0], whole
    there = ", ".join(path.name for path in files)
    raise FileNotFoundError(f"{folder} has {there}, but no {' or '.join(_JSON_NAMES[split])} for the split {split}")


def is_one_side(path: Path) -> bool:
    """Whether a file's name says that it holds one side of a split."""
    return any(path.name in _JSON_NAMES[use] for use in ("train", "validation", "test"))


def _json_files(folder: Path, use: str) -> list[Path]:
    """Of one use, in the first folder that has any."""
    for below in _JSON_FOLDERS:
        if found := [path for name in _JSON_NAMES[use] if (path := folder / below / name).is_file()]:
            return found
    return []
