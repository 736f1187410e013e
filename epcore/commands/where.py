"""`--box`, `--boxes`, `--find`: where the persons of a picture are, and what is said about it on standard error."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epcore.base.notices import say
from epcore.commands.console import Input

if TYPE_CHECKING:
    from epcore.data.boxes import PersonBoxes
    from epcore.pose.box import Box
    from epcore.pose.confidence import Calibration
    from epcore.pose.predict import Pose

Look = Callable[["Box | None", float], "Pose"]


@dataclass(frozen=True)
class Person:
    """A pose, and whose it is: the id of its box, None for the only person of a picture."""

    id: str | None
    pose: Pose


def add_where_arguments(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--box", metavar="X,Y,W,H", help="around the person: left, top, width, height, pixels")
    where.add_argument(
        "--boxes", type=Input, metavar="FILE", help="of all persons: COCO's JSON (detections or ground truth), or CSV"
    )
    where.add_argument("--find", action="store_true", help="look closer and closer where the whole picture shows nobody")


class Where:
    """What the options ask for. Made before any work: raises ValueError or OSError for what is wrong with them."""

    def __init__(self, arguments: argparse.Namespace, images: Sequence[str], calibration: Calibration) -> None:
        self._images, self._calibration = images, calibration
        self._box = None if arguments.box is None else _parse(arguments.box)
        self._find: bool = arguments.find
        self._sure = calibration.sure_pose if arguments.min_score is None else arguments.min_score
        self._nobody: list[tuple[str, float]] = []
        self._boxes: PersonBoxes | None = None
        if self._box and len(images) != 1:
            raise ValueError(f"--box is of one picture, and {len(images)} are named: name their boxes with --boxes FILE")
        if arguments.boxes:
            from epcore.data.boxes import read_boxes

            self._boxes = read_boxes(arguments.boxes)
            _compare(arguments.boxes, self._boxes, images)

    def persons(self, index: int, look: Look) -> Iterator[Person]:
        """Of one picture. look: the network on a box of it, with a margin. Raises ValueError for boxes outside the picture."""
        from epcore.pose.box import CROP_MARGIN

        if self._boxes:
            for each in self._boxes.of(self._images[index]):
                try:
                    yield Person(each.id, look(each.box, CROP_MARGIN))
                except ValueError as error:
                    raise ValueError(f"person {each.id}: {error}") from None
        elif self._box:
            yield Person(None, look(self._box, CROP_MARGIN))
        else:
            pose = self._found(index, look) if self._find else look(None, 1.0)
            if not pose.score >= self._sure:
                self._nobody.append((self._images[index], pose.score))
            yield Person(None, pose)

    def _found(self, index: int, look: Look) -> Pose:
        from epcore.pose.find import find_person

        found = find_person(look, calibration=self._calibration)
        place = f"in the box {found.pose.box}" if found.pose.box else "in the whole picture"
        how = "found" if found.sure else "--find gave up: nobody for sure, the likeliest"
        say(f"epcore: {self._images[index]}: {how} {place}, score {found.pose.score:.2f}, after {found.looks} looks")
        return found.pose

    def warn(self) -> None:
        """Say once where no person was found with confidence, and what helps."""
        if not self._nobody:
            return
        image, score = self._nobody[0]
        others = f" (and in {len(self._nobody) - 1} more)" if len(self._nobody) > 1 else ""
        helps = "--box X,Y,W,H says where" if self._find else "--find looks closer, --box X,Y,W,H says where"
        say(
            f"epcore: warning: no person is found with confidence in {image}{others}: score {score:.2f}, expected "
            f"{self._sure:.2f}. Where somebody is small in the picture, {helps}"
        )


def _parse(text: str) -> Box:
    from epcore.pose.box import Box

    try:
        x, y, width, height = (float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"--box is {text!r}, expected four numbers X,Y,W,H: left, top, width, height in pixels") from None
    return Box(x, y, width, height)


def _compare(path: str, boxes: PersonBoxes, images: Sequence[str]) -> None:
    """Raise where a file has no box for any of the pictures; say what does not belong together."""
    without = [image for image in images if not boxes.numbers(image)]
    if len(without) == len(images):
        names = sorted({each.image for each in boxes.boxes})
        more = ", ..." if len(names) > 1 else ""
        raise ValueError(f"{path} has boxes for other pictures ({names[0]}{more}), none for {images[0]}")
    used = {number for image in images for number in boxes.numbers(image)}
    if without:
        say(f"epcore: {path} has no box for {len(without)} of {len(images)} pictures, the first is {without[0]}")
    if others := len(boxes.boxes) - len(used):
        say(f"epcore: {others} of {len(boxes.boxes)} boxes of {path} are for other pictures")
