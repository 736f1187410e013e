"""epcore data: look at what a network would be trained on."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epcore.base.checks import COUNT, SEEDS, SIDE, Whole
from epcore.base.json_text import json_text
from epcore.base.progress import progress
from epcore.base.table import Table
from epcore.commands.console import add_folder, add_json, add_output
from epcore.commands.result import Result

if TYPE_CHECKING:
    from epcore.data.mpii_annotations import Annotations
    from epcore.data.record import Record

_LISTED = 20  # problems printed; --json has all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from epcore.data.body import VARIETIES

    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    check = actions.add_parser("check", help="what is in a folder with MPII; exit code 1 if pictures are missing or damaged")
    check.add_argument(
        "folder",
        metavar="DIR",
        help="has annotations (.mat, or JSON of HRNet, MMPose, COCO's form) and images/; or an annotation file",
    )
    check.add_argument("--quick", action="store_true", help="read only the pictures' headers, not every pixel")
    add_json(check, "the report")
    check.set_defaults(act=_check)

    split = actions.add_parser("split", help="write the random split of MPII as two files, one person a line")
    split.add_argument("folder", metavar="DIR")
    add_output(split, "train", metavar="TRAIN_FILE")
    add_output(split, "validation", metavar="VALIDATION_FILE")
    split.add_argument("--seed", type=Whole(0, SEEDS), default=0)
    split.set_defaults(act=_split)

    sample = actions.add_parser("sample", help="write synthetic pictures to look at, and their annotations")
    add_folder(sample, "folder", metavar="OUT_DIR", what="pictures")
    sample.add_argument("--count", type=Whole(1, COUNT), default=24)
    sample.add_argument("--seed", type=Whole(0, SEEDS), default=0)
    sample.add_argument("--size", type=Whole(32, SIDE), default=256, help="side of the pictures, pixels (%(default)s)")
    sample.add_argument("--variety", choices=tuple(VARIETIES), default="default", help="how hard they are (%(default)s)")
    sample.add_argument("--overlay", action="store_true", help="draw the skeletons into the pictures")
    sample.set_defaults(act=_sample)


def run(arguments: argparse.Namespace) -> Result:
    outcome: Result = arguments.act(arguments)
    return outcome


def _check(arguments: argparse.Namespace) -> Result:
    from epcore.data.annotations import annotation_files, read_people
    from epcore.data.mpii import broken_pictures, images_folder, picture_paths

    files, images = annotation_files(arguments.folder), images_folder(arguments.folder)
    found = [read_people(file, images) for file in files]
    paths = dict.fromkeys(path for annotations in found for path in picture_paths(annotations.records))
    broken = dict(broken_pictures(progress(list(paths), "picture"), decode=not arguments.quick))
    reports = [_report(annotations, str(file), broken) for annotations, file in zip(found, files, strict=True)]
    text = "\n\n".join(map(_as_text, reports))
    return Result(text, reports[0] if len(reports) == 1 else {"files": reports}, code=1 if broken else 0)


def _report(annotations: Annotations, file: str, broken: dict[Path, str]) -> dict[str, Any]:
    from epcore.data.annotations import is_one_side
    from epcore.data.mpii import picture_paths
    from epcore.data.mpii_splits import split_names
    from epcore.pose.skeleton import KEYPOINTS

    records = annotations.records
    whole = is_one_side(Path(file))
    train, validation = ([], []) if whole else split_names([record.name for record in records])
    return {
        "file": file,
        "form": annotations.form,
        "notes": annotations.notes,
        "pictures": annotations.pictures,
        "train_pictures": annotations.train_pictures,
        "persons": len(records),
        "persons_in_split": None if whole else {"train": len(train), "validation": len(validation)},
        "with_head_box": sum(record.head_box is not None for record in records),
        "with_others": sum(bool(record.others) for record in records),
        "annotated": {name: sum(bool(record.annotated[j]) for record in records) for j, name in enumerate(KEYPOINTS)},
        "visible": {name: sum(bool(record.visible[j]) for record in records) for j, name in enumerate(KEYPOINTS)},
        "problems": annotations.problems,
        "broken_pictures": {path.name: broken[path] for path in picture_paths(records) if path in broken},
    }


def _as_text(report: dict[str, Any]) -> str:
    split, table = report["persons_in_split"], Table("<18", ">10", ">10")
    lines = [
        f"{report['file']}: {report['form']}",
        *(f"  {note}" for note in report["notes"]),
        f"  {report['pictures']} pictures, {report['train_pictures']} of them annotated for training",
        f"  {report['persons']} persons"
        + (f" to train on (default split {split['train']} / {split['validation']})" if split else "")
        + f", {report['with_head_box']} with a head box, {report['with_others']} with others in the picture",
        table.line("  keypoint", "annotated", "visible"),
        *(table.line(f"  {name}", count, report["visible"][name]) for name, count in report["annotated"].items()),
    ]
    broken = [f"{name}: {reason}" for name, reason in report["broken_pictures"].items()]
    for title, entries in (("left out or corrected", report["problems"]), ("pictures missing or damaged", broken)):
        lines.append(f"  {title}: {len(entries) or 'none'}")
        lines += [f"    {entry}" for entry in entries[:_LISTED]]
        if len(entries) > _LISTED:
            lines.append(f"    ... and {len(entries) - _LISTED} more (--json has all)")
    return "\n".join(lines)


def _split(arguments: argparse.Namespace) -> Result:
    from epcore.data.annotations import file_of_split, read_people
    from epcore.data.mpii_splits import split_names

    file, whole = file_of_split(arguments.folder, "train")
    if whole:
        raise ValueError(f"{file} is one side of a split already, expected annotations of all persons to divide")
    names = [record.name for record in read_people(file, file.parent).records]
    parts = dict(zip((arguments.train, arguments.validation), split_names(names, seed=arguments.seed), strict=True))
    text = "\n".join(f"{len(part)} persons -> {path}" for path, part in parts.items())
    return Result(text, files={path: "".join(f"{name}\n" for name in part) for path, part in parts.items()})


def _sample(arguments: argparse.Namespace) -> Result:
    from PIL import Image

    from epcore.data.synthetic import SyntheticFigures

    figures = SyntheticFigures(arguments.count, arguments.seed, size=arguments.size, variety=arguments.variety)
    folder = arguments.staging.folder(arguments.folder)
    annotations = []
    for index in range(len(figures)):
        record = figures.record(index)
        name, picture = f"{record.name}.png", io.BytesIO()
        (_overlay(record) if arguments.overlay else Image.fromarray(record.pixels())).save(picture, "PNG")
        folder.write(name, picture.getvalue())
        annotations.append({"image": name, **_as_json(record)})
    folder.write("annotations.json", json_text(annotations).encode())
    return Result(f"{len(figures)} pictures -> {arguments.folder}")


def _as_json(record: Record) -> dict[str, Any]:
    from epcore.pose.skeleton import KEYPOINTS

    assert record.head_box is not None
    keypoints = [
        {
            "name": name,
            "x": round(float(x), 3) if annotated else None,
            "y": round(float(y), 3) if annotated else None,
            "visible": bool(visible),
        }
        for name, (x, y), annotated, visible in zip(KEYPOINTS, record.keypoints, record.annotated, record.visible, strict=True)
    ]
    return {"keypoints": keypoints, "head_box": [round(float(value), 3) for value in record.head_box]}


def _overlay(record: Record) -> Any:
    """The picture with its skeleton; hidden keypoints faint."""
    from epcore.pose import Keypoint, Pose, draw_pose
    from epcore.pose.skeleton import KEYPOINTS

    pixels = record.pixels()
    points = tuple(
        Keypoint(name, float(x) if annotated else None, float(y) if annotated else None, float(visible))
        for name, (x, y), annotated, visible in zip(KEYPOINTS, record.keypoints, record.annotated, record.visible, strict=True)
    )
    return draw_pose(pixels, Pose(pixels.shape[1], pixels.shape[0], points))
