"""`epcore predict`: keypoints of the person in each picture, as a table, JSON, CSV or drawn over the picture.

Either every picture is predicted and everything is written, or nothing is written and the first wrong picture is named.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from epcore.base.files import staged_folder
from epcore.base.progress import progress
from epcore.base.table import Table
from epcore.commands.console import Input, add_folder, add_json, add_output
from epcore.commands.model import add_model_arguments, load_model
from epcore.commands.result import Result
from epcore.inference.engine import engine

if TYPE_CHECKING:
    from epcore.pose import Pose

JPEG_SIDE = 65_500  # the most that Pillow's JPEG encoder takes; larger overlays become PNG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Input, metavar="IMAGE", help="picture files of any format that Pillow reads")
    add_model_arguments(parser)
    parser.add_argument("--real-time", action="store_true", help="decode without smoothing; drop keypoints below 0.3")
    add_json(parser, "the keypoints")
    add_output(parser, "--csv", help="write one line per keypoint; - is standard output")
    add_folder(parser, "--overlay", what="overlays", help="write each picture with its skeleton to DIR/NAME_pose.jpg")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.pose.draw import draw_on_pixels
    from epcore.pose.picture import PictureFiles
    from epcore.pose.predict import predict_pixels

    poses: list[Pose] = []
    with PictureFiles(arguments.images) as pictures:
        chosen = engine(load_model(arguments), backend=arguments.backend)
        names = overlay_names(arguments.images, arguments.overlay) if arguments.overlay else []
        with staged_folder(arguments.overlay) if arguments.overlay else nullcontext() as overlays:
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
    report = [{"image": image, **pose.to_json()} for image, pose in zip(arguments.images, poses, strict=True)]
    files = {arguments.csv: _as_csv(arguments.images, poses)} if arguments.csv else {}
    if arguments.json or arguments.csv:
        return Result(report=report, files=files)
    return Result("\n".join(_as_table(image, pose) for image, pose in zip(arguments.images, poses, strict=True)))


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


def _as_csv(images: list[str], poses: list[Pose]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "width", "height", "keypoint", "x", "y", "score"))
    for image, pose in zip(images, poses, strict=True):
        for point in pose.to_json()["keypoints"]:
            writer.writerow((image, pose.width, pose.height, point["name"], point["x"], point["y"], point["score"]))
    return text.getvalue()


def _as_table(image: str, pose: Pose) -> str:
    table = Table("<18", ">9.1f", ">9.1f", ">8.2f")
    lines = [f"{image}  {pose.width} x {pose.height}", table.line("  keypoint", "x", "y", "score")]
    for point in pose.keypoints:
        place = ("", "missing") if point.x is None else (point.x, point.y)
        lines.append(table.line(f"  {point.name}", *place, point.score))
    return "\n".join(lines)
