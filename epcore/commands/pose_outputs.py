"""The options of `predict` that write poses, and their files: each format of `epcore.pose.formats` is one option."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from epcore.base.checks import Real
from epcore.commands.console import Output, add_folder, add_output
from epcore.commands.result import Content

if TYPE_CHECKING:
    from epcore.pose.formats import Format, Observation


def add_pose_outputs(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "--json-lines", help="write one JSON object per line; - is standard output")
    add_output(parser, "--csv", help="write one line per keypoint; - is standard output")
    add_output(parser, "--csv-wide", help="write one line per pose; - is standard output")
    add_output(parser, "--coco", help="write COCO keypoint results; - is standard output")
    add_output(parser, "--angles", help="write angles of joints, degrees, one line per pose, as CSV; - is standard output")
    add_output(parser, "--trc", help="write a film's keypoints in metres for OpenSim; needs --height")
    help_text = "the person's height, metres, by which --trc measures"
    parser.add_argument("--height", type=Real(0.3, 3.0), metavar="M", help=help_text)
    add_folder(parser, "--openpose", what="OpenPose's JSON", help="write OpenPose's JSON (BODY_25), a file each, to DIR")


class PoseOutputs:
    """What was asked for on the command line, filled one pose after another. film: whether frames come, else pictures.

    Raises ValueError for options that do not go together.
    """

    def __init__(self, arguments: argparse.Namespace, *, film: bool = False) -> None:
        if arguments.trc and not film:
            raise ValueError("--trc holds the frames of a film: pictures have --csv, --coco and others")
        if arguments.trc and arguments.height is None:
            raise ValueError("--trc is in metres: --height M says how tall the person is")
        self._formats: list[Format] = []
        self._files: dict[str, IO[bytes]] = {}
        self.wanted = bool(arguments.json)
        for path, make in _makers(arguments, film):
            self.wanted = True
            self._files[path] = arguments.staging.scratch()  # the console writes it where it belongs
            self._formats.append(make(self._files[path]))
        if arguments.openpose:
            from epcore.pose.formats.openpose import OpenPoseFiles

            self.wanted = True
            self._formats.append(OpenPoseFiles(arguments.staging.folder(arguments.openpose)))

    def add(self, observation: Observation) -> None:
        for each in self._formats:
            each.add(observation)

    def finish(self) -> dict[str, Content]:
        """The files, for a `Result`."""
        for each in self._formats:
            each.finish()
        return {path: partial(_copy, file) for path, file in self._files.items()}


def _makers(arguments: argparse.Namespace, film: bool) -> list[tuple[Output, Callable[[IO[bytes]], Format]]]:
    from epcore.pose.formats.angles import AngleTable
    from epcore.pose.formats.coco import CocoResults
    from epcore.pose.formats.csv_rows import LongCsv, WideCsv
    from epcore.pose.formats.json_rows import JsonArray, JsonLines
    from epcore.pose.formats.trc import TrcFile

    makers: list[tuple[Output | None, Callable[[IO[bytes]], Format]]] = [
        (arguments.json if film else None, JsonArray),  # pictures' is the command's report
        (arguments.json_lines, JsonLines),
        (arguments.csv, LongCsv),
        (arguments.csv_wide, WideCsv),
        (arguments.coco, CocoResults),
        (arguments.angles, AngleTable),
        (arguments.trc, lambda file: TrcFile(file, Path(arguments.trc).name, arguments.height)),
    ]
    return [(path, make) for path, make in makers if path]


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    source.seek(0)
    shutil.copyfileobj(source, target)
