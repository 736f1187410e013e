"""Where the person is when nobody says: look at the whole picture, then closer, until what is found stands still.

The networks were trained on people that fill the picture. Somebody a fifth as high is not seen at all, so the whole picture
cannot even say where to look. Where it shows nobody, overlapping squares of a half, a third and a quarter of its shorter side
are looked at, each size only if the larger ones showed nobody. From the best few on, the box around what is sure is looked at,
and the box around what that shows, until the box stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from epcore.pose.box import CROP_MARGIN, Box
from epcore.pose.confidence import PUBLISHED, Calibration
from epcore.pose.predict import Pose

Look = Callable[[Box | None, float], Pose]  # a box and its margin -> what is seen there

PARTS = (2, 3, 4)  # sides of the squares, as parts of the picture's shorter side
CANDIDATES = 3  # squares whose person is looked at again
TURNS = 6  # at most, around one candidate
STILL = 0.05  # of the box's longer side: moves that are none
FEWEST = 4  # keypoints that make a box
ENOUGH = 0.9  # share of a pose's keypoints that are right, by its score: nobody looks closer
WORSE = 0.1  # of that share, which a closer look may lose: it is the more exact one


@dataclass(frozen=True)
class Finding:
    """pose: the best that was seen. looks: how often the network looked. sure: whether it is a person, by its score."""

    pose: Pose
    looks: int
    sure: bool


def find_person(look: Look, *, calibration: Calibration = PUBLISHED) -> Finding:
    """The person whose pose has the highest score. look: runs the network on a box of one picture, None the whole of it."""
    counted = _Counted(look)
    whole = counted(None, 1.0)
    best = whole
    for size in (None, *PARTS):
        seen = [whole] if size is None else [counted(box, 1.0) for box in squares(whole.width, whole.height, size)]
        seen.sort(key=lambda pose: -pose.score)
        closer = [_follow(counted, pose, calibration) for pose in seen[:CANDIDATES]]
        best = max((best, *closer), key=lambda pose: pose.score)
        if calibration.pose.share(best.score) >= ENOUGH:
            break
    return Finding(best, counted.looks, best.score >= calibration.sure_pose)


def squares(width: int, height: int, parts: int) -> Iterator[Box]:
    """Squares of a part of the shorter side, each overlapping its neighbours by at least a half, over the whole picture."""
    side = min(width, height) / parts
    for y in _starts(height, side):
        for x in _starts(width, side):
            yield Box(x, y, side, side)


def _starts(extent: float, side: float) -> list[float]:
    steps = int(np.ceil((extent - side) / (side / 2) - 1e-9))
    return [float(start) for start in np.linspace(0, extent - side, steps + 1)]


def person_box(pose: Pose, calibration: Calibration) -> tuple[Box, float] | None:
    """The box of the keypoints that are sure, and the margin to look at it with: the more are missing, the wider.

    None where so few are sure, or so close together, that they make no box.
    """
    points = pose.points.copy()
    sure = (pose.scores >= calibration.sure_keypoint) & ~np.isnan(points).any(axis=1)
    if sure.sum() < FEWEST or not np.ptp(points[sure], axis=0).min() > 0:
        return None
    return Box.around(points[sure]), CROP_MARGIN + 1 - sure.mean()


def _follow(look: Look, pose: Pose, calibration: Calibration) -> Pose:
    """The best pose on the way from one to the box around it, and so on."""
    best, before = pose, pose.box
    for _ in range(TURNS):
        place = person_box(pose, calibration)
        if place is None or (before and _still(before, place[0])):
            break
        before, pose = place[0], look(*place)
        if calibration.pose.share(pose.score) >= calibration.pose.share(best.score) - WORSE:
            best = pose
    return best


def _still(before: Box, now: Box) -> bool:
    moved = max(
        abs(before.x - now.x), abs(before.y - now.y),
        abs(before.x + before.width - now.x - now.width), abs(before.y + before.height - now.y - now.height),
    )  # fmt: skip
    return moved <= STILL * max(before.width, before.height)


class _Counted:
    def __init__(self, look: Look) -> None:
        self._look, self.looks = look, 0

    def __call__(self, box: Box | None, margin: float) -> Pose:
        self.looks += 1
        return self._look(box, margin)
