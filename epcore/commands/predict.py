"""`epcore predict`: keypoints of the person in each picture, as a table, in the formats of others or drawn over the picture; of
one in a film: `epcore.commands.film`.

A picture that cannot be read is named and left out, exit code 1; with --strict nothing is written then. What is written appears
together or not at all.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from epcore.base.ahead import ahead
from epcore.base.checks import Real, Whole
from epcore.base.notices import say
from epcore.base.progress import progress
from epcore.base.table import Table
from epcore.commands.console import Input, add_folder, add_json, check_outputs
from epcore.commands.film import add_film_arguments, is_film_command, run_film
from epcore.commands.model import add_model_arguments, load_model
from epcore.commands.overlay_names import overlay_names
from epcore.commands.pose_outputs import PoseOutputs, add_pose_outputs
from epcore.commands.result import Result
from epcore.commands.where import Person, Where, add_where_arguments
from epcore.weights_tools.read import prepare_to_read

if TYPE_CHECKING:
    import numpy as np

    from epcore.pose import Box, Pose

METHODS = ("release", "parabola", "dark", "quarter")  # `epcore.pose.refine.METHODS`, without importing so much for --help
JPEG_SIDE = 65_500  # the most that Pillow's JPEG encoder takes; larger overlays become PNG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="*", type=Input, metavar="IMAGE", help="pictures that Pillow reads, folders of them, or one film"
    )
    add_model_arguments(parser)
    add_where_arguments(parser)
    parser.add_argument("--real-time", action="store_true", help="decode without smoothing; drop keypoints below 0.3")
    parser.add_argument(
        "--min-score", type=Real(0, 1), metavar="S", help="below it keypoints and poses are unsure (default: as measured)"
    )
    parser.add_argument("--method", default="release", choices=METHODS, help="places within a pixel of the map (%(default)s)")
    parser.add_argument("--coarse", action="store_true", help="decode the maps before upscaling")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument(
        "--scales",
        type=Real(0, 100, above=True),
        nargs="+",
        default=(1.0,),
        metavar="S",
        help="average over sizes",
    )
    parser.add_argument("--strict", action="store_true", help="write nothing if any picture cannot be read, exit code 2")
    parser.add_argument(
        "--max-pixels", type=Whole(1, 2**31), metavar="N", help="the most a picture may have (Pillow's limit, 179 million)"
    )
    add_film_arguments(parser)
    add_json(parser, "the keypoints")
    add_pose_outputs(parser)
    help_text = "write each picture, or the film, with its skeleton to DIR/NAME_pose.jpg or .mp4"
    add_folder(parser, "--overlay", what="overlays", help=help_text)


def run(arguments: argparse.Namespace) -> Result:
    if arguments.weights:
        prepare_to_read()  # the process that opens the file starts while modules are imported and headers read
    from epcore.inference.engine import engine
    from epcore.kernels.cpu.side_by_side import compile_along
    from epcore.pose import peaks, resample
    from epcore.pose.confidence import PUBLISHED, SHIPPED
    from epcore.pose.formats import Observation
    from epcore.pose.formats.json_rows import row
    from epcore.pose.picture_files import PictureFiles, picture_paths
    from epcore.pose.predict import predict_pixels

    compile_along([peaks.job(), resample.job()])  # beside the plan's
    if is_film_command(arguments):
        return run_film(arguments)
    arguments.images = images = [Input(path) for path in picture_paths(arguments.images)]
    check_outputs(arguments)  # over what folders hold, too
    calibration = PUBLISHED if arguments.weights else SHIPPED
    sure = calibration.sure_keypoint if arguments.min_score is None else arguments.min_score
    where = Where(arguments, images, calibration)
    outputs = PoseOutputs(arguments)
    wrong = _LeftOut(len(images))
    found: list[tuple[Input, Person]] = []
    with PictureFiles(images, max_pixels=arguments.max_pixels, left_out=None if arguments.strict else wrong.say) as pictures:
        wrong.stop_without_rest()
        chosen = engine(load_model(arguments), backend=arguments.backend)
        names = overlay_names(images, arguments.overlay) if arguments.overlay else []
        overlays = arguments.staging.folder(arguments.overlay) if arguments.overlay else None
        reading = partial(
            predict_pixels, engine=chosen, real_time=arguments.real_time, method=arguments.method, coarse=arguments.coarse,
            flip=arguments.flip, scales=arguments.scales,
        )  # fmt: skip
        with closing(ahead(pictures)) as read:  # the next one while the network works on this one, as `predict_many` does
            for index, pixels in progress(read, "picture", total=len(pictures)):

                def look(box: Box | None, margin: float, pixels: np.ndarray = pixels) -> Pose:
                    return reading(pixels, box=box, margin=margin)

                try:
                    persons = list(where.persons(index, look))
                except ValueError as error:
                    raise ValueError(f"{images[index]}: {error}") from None
                found += ((images[index], person) for person in persons)
                if overlays:
                    ending, file = _overlay(pixels, persons, sure)
                    overlays.write(names[index] + ending, file)
    wrong.stop_without_rest()
    code = 1 if wrong.count else 0
    if wrong.count:
        say(f"epcore: {wrong.count} of {len(images)} pictures left out")
    where.warn()
    if outputs.wanted:
        observations = [Observation(image, person.pose, person=person.id) for image, person in found]
        for each in observations:
            outputs.add(each)
        return Result(report=[row(each) for each in observations], files=outputs.finish(), code=code)
    return Result("\n".join(_as_table(image, person) for image, person in found), code=code)


def _overlay(pixels: np.ndarray, persons: Sequence[Person], sure: float) -> tuple[str, bytes]:
    """Ending and contents of the picture with everybody's skeleton; joints below `sure` are hollow."""
    import numpy as np
    from PIL import Image

    from epcore.pose.draw import draw_on_pixels

    drawn = Image.fromarray(pixels)
    for person in persons:
        drawn = draw_on_pixels(np.asarray(drawn), person.pose, threshold=sure, label=person.id)
    ending, kind = (".jpg", "JPEG") if max(drawn.size) <= JPEG_SIDE else (".png", "PNG")
    file = io.BytesIO()
    drawn.save(file, kind, quality=92)
    return ending, file.getvalue()


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


def _as_table(image: str, person: Person) -> str:
    table, pose = Table("<18", ">9.1f", ">9.1f", ">8.2f"), person.pose
    whose = "" if person.id is None else f"  person {person.id}"
    lines = [f"{image}  {pose.width} x {pose.height}{whose}", table.line("  keypoint", "x", "y", "score")]
    for point in pose.keypoints:
        place = ("", "missing") if point.x is None else (point.x, point.y)
        lines.append(table.line(f"  {point.name}", *place, point.score))
    return "\n".join(lines)
