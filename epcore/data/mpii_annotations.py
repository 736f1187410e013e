"""What the annotation file of MPII Human Pose holds: `mpii_human_pose_v1_u12_1.mat` read as records, one a person.

Nesting (MATLAB structs; a struct array of one element comes back as a single struct, an empty one as an empty array):

    RELEASE.img_train[i]      1: annotated for training, 0: test, whose keypoints are not published
    RELEASE.annolist[i].image.name
    RELEASE.annolist[i].annorect[k].{x1, y1, x2, y2}   head box       .scale (person's height / 200 px)   .objpos.{x, y}
                                   .annopoints.point[m].{x, y, id, is_visible}

Any of the inner fields may be missing or empty; is_visible comes as a number, as text or empty. Coordinates are 1-based with
whole numbers at pixels' centres (MATLAB's), so 0.5 is subtracted to bring them to epcore's (see `record`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epcore.base.files import decoding
from epcore.base.guarded import read_guarded
from epcore.data.mat_file import MAT_LIMITS, load_mat
from epcore.data.mpii_plain import plain_records, records_of
from epcore.data.record import Person, Record
from epcore.pose.skeleton import MPII_IDS

MAT_NAME = "mpii_human_pose_v1_u12_1.mat"
_MAT_FOLDERS = ("", "mpii_human_pose_v1_u12_2", "mpii_human_pose_v1_u12_1", "annotations")  # as unpacked or commonly kept

_MATLAB_CORNER = 0.5  # 1-based centre 1 -> corner-based 0.5
_KEYPOINT_OF_ID = {mpii_id: index for index, mpii_id in enumerate(MPII_IDS)}


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds. records: one per annotated person of the training pictures that can be cropped.

    pictures: all in the file. train_pictures: with annotated persons published (img_train). problems: what was left out and
    why, one line each. form: which kind of file it is. notes: how it was read, and what cannot be computed from it.
    """

    records: list[Record]
    pictures: int
    train_pictures: int
    problems: list[str] = field(default_factory=list)
    form: str = "MPII .mat (original)"
    notes: list[str] = field(default_factory=list)


def find_mat(folder: str | os.PathLike[str]) -> Path:
    """The annotation file in a data set's folder, or the path itself if it is a file. Raises FileNotFoundError."""
    folder = Path(folder)
    if folder.is_file():
        return folder
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}")
    for below in _MAT_FOLDERS:
        if (folder / below / MAT_NAME).is_file():
            return folder / below / MAT_NAME
    raise FileNotFoundError(f"{MAT_NAME} is not in {folder}, nor in {', '.join(filter(None, _MAT_FOLDERS))} below it")


def read_annotations(mat: str | os.PathLike[str], images: str | os.PathLike[str], *, trusted: bool = False) -> Annotations:
    """Read the annotation file. images: the folder of the pictures, which are not looked at here. trusted: it is opened in this
    process, not in one of its own (`epcore.base.guarded`).

    Raises FileNotFoundError, or ValueError for a file that is damaged or is built differently, saying where.
    """
    if not Path(mat).exists():
        raise FileNotFoundError(f"there is no file {mat}")
    if trusted:
        return _read_here(mat, images)
    plain = read_guarded("epcore.data.mpii_annotations:plain_annotations", mat, MAT_LIMITS)
    with decoding(os.fspath(mat)):
        return Annotations(**plain | {"records": records_of(plain["records"], Path(images))})


def plain_annotations(mat: str) -> dict[str, Any]:
    """Annotations as plain values, for `read_annotations` in another process."""
    found = _read_here(mat, "")
    return vars(found) | {"records": plain_records(found.records)}


def _read_here(mat: str | os.PathLike[str], images: str | os.PathLike[str]) -> Annotations:
    release = _load_release(Path(mat))
    pictures = _structs(_get(release, "annolist", "RELEASE"))
    train = np.atleast_1d(np.asarray(_get(release, "img_train", "RELEASE")))
    if len(train) != len(pictures):
        raise ValueError(f"{mat}: RELEASE.img_train has {len(train)} entries, RELEASE.annolist {len(pictures)}")
    records: list[Record] = []
    problems: list[str] = []
    for index, picture in enumerate(pictures):
        if not train[index]:
            continue
        where = f"RELEASE.annolist[{index}]"
        try:
            records += _read_picture(picture, where, Path(images), problems)
        except _NestingError as error:
            raise ValueError(f"{mat}: {error}") from None
    return Annotations(records, len(pictures), int(np.count_nonzero(train)), problems)


class _NestingError(ValueError):
    """Something is not where the data set keeps it."""


def _load_release(mat: Path) -> Any:
    content = load_mat(mat, ["RELEASE"], struct_as_record=False, squeeze_me=True)
    if "RELEASE" not in content:
        raise ValueError(f"{mat} has no variable RELEASE, expected the annotation file of MPII")
    try:
        _get(content["RELEASE"], "annolist", "RELEASE")
        _get(content["RELEASE"], "img_train", "RELEASE")
    except _NestingError as error:
        raise ValueError(f"{mat}: {error}") from None
    return content["RELEASE"]


def _read_picture(picture: Any, where: str, images: Path, problems: list[str]) -> list[Record]:
    name = _get(_get(picture, "image", where), "name", f"{where}.image")
    if not isinstance(name, str) or not name:
        raise _NestingError(f"{where}.image.name is {name!r}, expected a file name")
    if Path(name).name != name or "\\" in name:
        raise _NestingError(f"{where}.image.name is {name!r}, expected a name without a folder")
    found: list[tuple[int, Any, Person]] = []
    for number, rectangle in enumerate(_structs(getattr(picture, "annorect", None))):
        person = _read_person(rectangle, f"{where}.annorect[{number}]")
        if person is not None:
            found.append((number, rectangle, person))
    records = []
    for number, rectangle, person in found:
        label = f"{name}#{number}"
        others = tuple(other for index, _, other in found if index != number)
        position = getattr(rectangle, "objpos", None)
        x, y, scale = _number(position, "x"), _number(position, "y"), _number(rectangle, "scale")
        if x is None or y is None or scale is None:
            problems.append(f"{label}: no objpos or scale, cannot be cropped")
            continue
        if scale <= 0:
            problems.append(f"{label}: scale is {scale:g}, cannot be cropped")
            continue
        box = _head_box(rectangle, label, problems)
        center = np.array([x, y]) - _MATLAB_CORNER
        records.append(Record(label, images / name, person, center, scale, box, others))
    return records


def _read_person(rectangle: Any, where: str) -> Person | None:
    """None where no keypoint is annotated. Of a keypoint given twice the later counts."""
    points = _structs(getattr(getattr(rectangle, "annopoints", None), "point", None))
    keypoints = np.full((len(MPII_IDS), 2), np.nan)
    visible = np.zeros(len(MPII_IDS), bool)
    for number, point in enumerate(points):
        mpii_id, x, y = (_number(point, name) for name in ("id", "x", "y"))
        if mpii_id is None or x is None or y is None:
            raise _NestingError(f"{where}.annopoints.point[{number}] lacks x, y or id")
        if mpii_id not in _KEYPOINT_OF_ID:
            raise _NestingError(f"{where}.annopoints.point[{number}].id is {mpii_id:g}, expected 0 to {len(MPII_IDS) - 1}")
        index = _KEYPOINT_OF_ID[int(mpii_id)]
        keypoints[index] = x - _MATLAB_CORNER, y - _MATLAB_CORNER
        # The head's two points never say whether they are visible, and some others do not: taken as visible.
        visible[index] = _number(point, "is_visible") != 0
    annotated = ~np.isnan(keypoints[:, 0])
    return Person(keypoints, annotated, visible & annotated) if annotated.any() else None


def _head_box(rectangle: Any, label: str, problems: list[str]) -> np.ndarray | None:
    corners = [_number(rectangle, name) for name in ("x1", "y1", "x2", "y2")]
    if any(value is None for value in corners):
        return None
    return clean_box(np.array(corners, np.float64) - _MATLAB_CORNER, label, problems)


def clean_box(box: np.ndarray, label: str, problems: list[str]) -> np.ndarray | None:
    """Two corners as x1, y1, x2, y2; None, and a line in problems, where they are no box."""
    if not np.isfinite(box).all():
        problems.append(f"{label}: head box that is not finite, taken as missing")
        return None
    box = np.concatenate([np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])])
    if (box[2:] <= box[:2]).any():
        problems.append(f"{label}: head box of zero size, taken as missing")
        return None
    return box


def _get(struct: Any, name: str, where: str) -> Any:
    if not hasattr(struct, "_fieldnames"):
        raise _NestingError(f"{where} is a {type(struct).__name__}, expected a struct with the field {name}")
    if name not in struct._fieldnames:
        raise _NestingError(f"{where} has the fields {', '.join(struct._fieldnames)}, expected {name}")
    return getattr(struct, name)


def _structs(value: Any) -> list[Any]:
    """A struct array as a list, whatever became of it: nothing, an empty array, one struct, an array of structs."""
    if value is None:
        return []
    return [each for each in np.atleast_1d(value).ravel() if hasattr(each, "_fieldnames")]


def _number(struct: Any, name: str) -> float | None:
    """A field as a number; None where it is missing, empty, or text that is no number."""
    value = getattr(struct, name, None)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    if value is None or np.size(value) != 1:
        return None
    number = float(np.asarray(value).ravel()[0])
    return number if np.isfinite(number) else None
