"""`epcore predict`: keypoints of the person in each picture, as a table, JSON, CSV or drawn over the picture.

Either every picture is predicted and everything is written, or nothing is written and the first wrong picture is named.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from epcore.base.files import STDOUT, check_writable, write_atomically
from epcore.base.progress import progress
from epcore.commands.model import add_model_arguments, load_model
from epcore.inference.engine import engine

if TYPE_CHECKING:
    from epcore.pose import Pose

JPEG_SIDE = 65_500  # the most that Pillow's JPEG encoder takes; larger overlays become PNG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files of any format that Pillow reads")
    add_model_arguments(parser)
    parser.add_argument("--real-time", action="store_true", help="decode without smoothing; drop keypoints below 0.3")
    parser.add_argument("--json", metavar="FILE", help="write the keypoints as JSON; - is standard output")
    parser.add_argument("--csv", metavar="FILE", help="write one line per keypoint; - is standard output")
    parser.add_argument("--overlay", metavar="DIR", help="write each picture with its skeleton to DIR/NAME_pose.jpg")


def run(arguments: argparse.Namespace) -> int:
    from epcore.pose.draw import draw_on_pixels
    from epcore.pose.picture import PictureFiles
    from epcore.pose.predict import predict_pixels

    _check_outputs(arguments)
    poses: list[Pose] = []
    with PictureFiles(arguments.images) as pictures:
        chosen = engine(load_model(arguments), backend=arguments.backend)
        names = overlay_names(arguments.images, arguments.overlay) if arguments.overlay else []
        with staged_folder(arguments.overlay) as overlays:
            for index, (image, pixels) in enumerate(zip(progress(arguments.images, "picture"), pictures, strict=True)):
                try:
                    pose = predict_pixels(pixels, chosen, real_time=arguments.real_time)
                except ValueError as error:
                    raise ValueError(f"{image}: {error}") from None
                poses.append(pose)
                if overlays:
                    drawn = draw_on_pixels(pixels, pose)
                    name = names[index] + (".jpg" if max(drawn.size) <= JPEG_SIDE else ".png")
                    drawn.save(overlays / name, quality=92)
    _write_keypoints(arguments, poses)
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Raise before any work for outputs that could not be written or would overwrite what was read."""
    inputs = {os.path.realpath(path) for path in (*arguments.images, arguments.weights) if path}
    for option, path in (("--json", arguments.json), ("--csv", arguments.csv)):
        if path is None:
            continue
        if os.path.realpath(path) in inputs and path != STDOUT:
            raise ValueError(f"{option} {path} would overwrite an input")
        check_writable(path)
    if arguments.json and arguments.csv and os.path.realpath(arguments.json) == os.path.realpath(arguments.csv):
        raise ValueError(f"--json and --csv both write to {arguments.json}")
    if arguments.overlay:
        folder = _existing(Path(arguments.overlay))
        if not folder.is_dir():
            raise NotADirectoryError(f"cannot write overlays to {arguments.overlay}: {folder} is a file, expected a folder")
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"cannot write overlays to {arguments.overlay}: permission denied")


def overlay_names(images: list[str], folder: str) -> list[str]:
    """One name without suffix for each picture: NAME_pose, numbered where two pictures or an input would share it."""
    taken = {os.path.splitext(os.path.realpath(image))[0].casefold() for image in images}
    names = []
    for image in images:
        name = stem = f"{Path(image).stem}_pose"
        number = 2
        while (key := os.path.realpath(os.path.join(folder, name)).casefold()) in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(key)
        names.append(name)
    return names


@contextmanager
def staged_folder(folder: str | None) -> Iterator[Path | None]:
    """A folder whose files move to `folder` when the block ends without an error; None stays None."""
    if folder is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=_existing(Path(folder)), prefix=".epcore-") as stage:
        yield Path(stage)
        os.makedirs(folder, exist_ok=True)
        for file in sorted(Path(stage).iterdir()):
            os.replace(file, Path(folder) / file.name)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = Path(os.path.abspath(folder))
    while not folder.exists():
        folder = folder.parent
    return folder


def _write_keypoints(arguments: argparse.Namespace, poses: list[Pose]) -> None:
    """JSON, CSV, and a table for people where nobody asked for another form."""
    images = arguments.images
    if arguments.json:
        rows = [{"image": image, **pose.to_json()} for image, pose in zip(images, poses, strict=True)]
        write_atomically(arguments.json, json.dumps(rows, indent=1) + "\n")
    if arguments.csv:
        write_atomically(arguments.csv, _as_csv(images, poses))
    if not arguments.json and not arguments.csv:
        print("\n".join(_as_table(image, pose) for image, pose in zip(images, poses, strict=True)))


def _as_csv(images: list[str], poses: list[Pose]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "width", "height", "keypoint", "x", "y", "score"))
    for image, pose in zip(images, poses, strict=True):
        for point in pose.to_json()["keypoints"]:
            writer.writerow((image, pose.width, pose.height, point["name"], point["x"], point["y"], point["score"]))
    return text.getvalue()


def _as_table(image: str, pose: Pose) -> str:
    lines = [f"{image}  {pose.width} x {pose.height}", f"  {'keypoint':<16}{'x':>9}{'y':>9}{'score':>8}"]
    for point in pose.keypoints:
        place = f"{'missing':>18}" if point.x is None else f"{point.x:>9.1f}{point.y:>9.1f}"
        lines.append(f"  {point.name:<16}{place}{point.score:>8.2f}")
    return "\n".join(lines)
