"""`epcore predict`: keypoints of the person in each picture, as a table, JSON, CSV or drawn over the picture.

A picture that cannot be read is named and left out, exit code 1; with --strict nothing is written then. What is written appears
together or not at all.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from epcore.base.ahead import ahead
from epcore.base.checks import Whole
from epcore.base.guarded import prepare
from epcore.base.notices import say
from epcore.base.progress import progress
from epcore.base.table import Table
from epcore.commands.console import Input, add_folder, add_json, add_output, check_outputs
from epcore.commands.model import add_model_arguments, load_model
from epcore.commands.result import Result
from epcore.inference.engine import engine

if TYPE_CHECKING:
    from epcore.pose import Pose

JPEG_SIDE = 65_500  # the most that Pillow's JPEG encoder takes; larger overlays become PNG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="+", type=Input, metavar="IMAGE", help="picture files of any format that Pillow reads, folders of them"
    )
    add_model_arguments(parser)
    parser.add_argument("--real-time", action="store_true", help="decode without smoothing; drop keypoints below 0.3")
    parser.add_argument("--strict", action="store_true", help="write nothing if any picture cannot be read, exit code 2")
    parser.add_argument(
        "--max-pixels", type=Whole(1, 2**31), metavar="N", help="the most a picture may have (Pillow's limit, 179 million)"
    )
    add_json(parser, "the keypoints")
    add_output(parser, "--csv", help="write one line per keypoint; - is standard output")
    add_folder(parser, "--overlay", what="overlays", help="write each picture with its skeleton to DIR/NAME_pose.jpg")


def run(arguments: argparse.Namespace) -> Result:
    if arguments.weights:
        prepare()  # the process that opens the file starts while modules are imported and headers read
    from epcore.pose.draw import draw_on_pixels
    from epcore.pose.picture_files import PictureFiles, picture_paths
    from epcore.pose.predict import predict_pixels

    arguments.images = images = [Input(path) for path in picture_paths(arguments.images)]
    check_outputs(arguments)  # over what folders hold, too
    wrong = _LeftOut(len(images))
    poses: dict[int, Pose] = {}
    with PictureFiles(images, max_pixels=arguments.max_pixels, left_out=None if arguments.strict else wrong.say) as pictures:
        wrong.stop_without_rest()
        chosen = engine(load_model(arguments), backend=arguments.backend)
        names = overlay_names(images, arguments.overlay) if arguments.overlay else []
        overlays = arguments.staging.folder(arguments.overlay) if arguments.overlay else None
        with closing(ahead(pictures)) as read:  # the next one while the network works on this one, as `predict_many` does
            for index, pixels in progress(read, "picture", total=len(pictures)):
                try:
                    poses[index] = predict_pixels(pixels, chosen, real_time=arguments.real_time)
                except ValueError as error:
                    raise ValueError(f"{images[index]}: {error}") from None
                if overlays:
                    drawn, file = draw_on_pixels(pixels, poses[index]), io.BytesIO()
                    ending, kind = (".jpg", "JPEG") if max(drawn.size) <= JPEG_SIDE else (".png", "PNG")
                    drawn.save(file, kind, quality=92)
                    overlays.write(names[index] + ending, file.getvalue())
    wrong.stop_without_rest()
    found = [(images[index], pose) for index, pose in poses.items()]
    code = 1 if wrong.count else 0
    if wrong.count:
        say(f"epcore: {wrong.count} of {len(images)} pictures left out")
    if arguments.json or arguments.csv:
        report = [{"image": image, **pose.to_json()} for image, pose in found]
        return Result(report=report, files={arguments.csv: _as_csv(found)} if arguments.csv else {}, code=code)
    return Result("\n".join(_as_table(image, pose) for image, pose in found), code=code)


class _LeftOut:
    """Pictures that cannot be read, each named on standard error at once; of one picture alone, or of all, that is an error."""

    def __init__(self, pictures: int) -> None:
        self.pictures, self.count = pictures, 0

    def say(self, index: int, error: Exception) -> None:
        if self.pictures == 1:
            raise error
        self.count += 1
        say(f"epcore: left out: {' '.join(str(error).split())}")

    def stop_without_rest(self) -> None:
        if self.count == self.pictures:
            raise ValueError(f"none of the {self.pictures} pictures can be read")


def overlay_names(images: Sequence[str], folder: str) -> list[str]:
    """One name without suffix for each picture: NAME_pose, numbered where two pictures or an input would share it."""
    taken = {os.path.splitext(os.path.realpath(image))[0].casefold() for image in images}
    names = []
    for image in images:
        name = stem = f"{_short(Path(image).stem)}_pose"
        number = 2
        while (key := os.path.realpath(os.path.join(folder, name)).casefold()) in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(key)
        names.append(name)
    return names


def _short(stem: str) -> str:
    """Names may have 255 bytes, and this one gets an ending, and a number."""
    return os.fsdecode(os.fsencode(stem)[:200]) if len(os.fsencode(stem)) > 200 else stem


def _as_csv(found: list[tuple[Input, Pose]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "width", "height", "keypoint", "x", "y", "score"))
    for image, pose in found:
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
