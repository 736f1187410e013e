"""A synthetic film: one person who walks to and fro before a still scene, every keypoint known in every frame.

Frame number `index` of a seed is always the same. The camera stands still; after `cut` frames, if that is asked for, another
scene begins in which the person is somewhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from epcore.data import scene
from epcore.data.body import SIDES, Body, Proportions, about_x, about_y
from epcore.data.canvas import develop
from epcore.data.figure import PARTS, Figure
from epcore.data.looks import Looks
from epcore.data.record import Person, Record
from epcore.pose.box import CROP_LOWER, SCALE_PIXELS, Box

_STREAM = 78  # of random numbers; no other data set begins with it
_CLUTTER = 6.0  # mean number of things in the scene
STRIDES = 0.9  # a second
CROSSING = 8.0  # s, from one side of the picture to the other


Scene = tuple[np.ndarray, np.ndarray, Looks, Proportions]  # background (S,S,3), light, clothes, build


@dataclass(frozen=True)
class WalkingFigure:
    """count frames of width x height pixels, rate a second. stature: the person's height as a share of the picture's.

    cut: the first frame of the other scene; None: there is none. Raises ValueError for sizes below 32 or a count below 1.
    """

    count: int
    seed: int = 0
    width: int = 640
    height: int = 480
    rate: float = 25.0
    stature: float = 0.62
    cut: int | None = None
    _scenes: dict[int, Scene] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, expected at least 1")
        if min(self.width, self.height) < 32:
            raise ValueError(f"frames are {self.width}x{self.height}, expected at least 32 pixels a side")

    def __len__(self) -> int:
        return self.count

    def record(self, index: int, epoch: int = 0) -> Record:
        """Frame `index`, the same in every epoch. Raises IndexError outside 0..count-1."""
        if not 0 <= index < self.count:
            raise IndexError(f"index is {index}, expected 0 to {self.count - 1}")
        after = int(self.cut is not None and index >= self.cut)
        background, light, looks, build = self._scene(after)
        canvas = background.copy()
        owner = np.full(canvas.shape[:2], scene.NOTHING, np.int16)
        top = (canvas.shape[0] - self.height) // 2
        figure = self._figure(index / self.rate, after, looks, build, top)
        figure.draw(canvas, owner, light)
        noise = np.random.default_rng([_STREAM, self.seed, index]).standard_normal(canvas.shape, np.float32)
        picture = develop(canvas, noise, 3.0, np.ones(3), 0.85)[top : top + self.height, : self.width]
        points = figure.keypoints - (0, top)
        inside = ((points >= 0) & (points < (self.width, self.height))).all(axis=1)
        person = Person(np.where(inside[:, None], points, np.nan), inside, figure.visible(owner) & inside)
        box = Box.around(points)
        scale = max(box.width, box.height) / SCALE_PIXELS
        centre = np.array(box.centre) - (0, CROP_LOWER * scale)
        head = figure.head_box() - (0, top, 0, top)
        return Record(f"walk-{self.seed}-{index}", np.ascontiguousarray(picture), person, centre, scale, head_box=head)

    def _scene(self, number: int) -> Scene:
        """Made once."""
        if number not in self._scenes:
            rng = np.random.default_rng([_STREAM, self.seed, 1 << 40, number])
            size = max(self.width, self.height)
            canvas, owner = np.empty((size, size, 3), np.float32), np.full((size, size), scene.NOTHING, np.int16)
            light = scene.sample_light(rng)
            scene.draw_background(canvas, rng)
            scene.draw_clutter(canvas, owner, rng, int(rng.poisson(_CLUTTER)), light)
            looks = Looks.sample(rng)
            self._scenes[number] = canvas, light, looks, Proportions.sample(rng)
        return self._scenes[number]

    def _figure(self, time: float, after: int, looks: Looks, build: Proportions, top: int) -> Figure:
        progress = 0.5 - 0.5 * math.cos(math.pi * time / CROSSING + math.pi * after)
        turned = 0.55 * math.sin(math.pi * time / CROSSING + math.pi * after)  # towards where the person walks
        body = walking_body(build, 2 * math.pi * STRIDES * time, turned)
        stature = self.stature * self.height * (1 + 0.12 * math.sin(0.7 * time))
        points = body.keypoints
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        hips = self.width * (0.22 + 0.56 * progress), top + 0.52 * self.height
        centre = hips[0] + stature * middle[0], hips[1] - stature * middle[1]  # the pelvis is the body's origin
        return Figure.place(body, looks, centre, stature, len(PARTS))


def walking_body(build: Proportions, phase: float, turned: float) -> Body:
    """A body in the middle of a step. phase: radians, two steps a turn. turned: radians about the vertical, 0 to the viewer."""
    hips = about_y(turned)
    chest = hips @ about_y(0.12 * math.sin(phase)) @ about_x(0.06)
    head = hips @ about_x(0.05)
    joints = {"pelvis": np.zeros(3)}
    joints["thorax"] = build.torso * chest[:, 1]
    joints["upper_neck"] = joints["thorax"] + build.neck * (0.5 * chest[:, 1] + 0.5 * head[:, 1] + 0.2 * head[:, 2])
    joints["head_top"] = joints["upper_neck"] + build.head * head[:, 1]
    for name, side in SIDES.items():
        swing = math.sin(phase) * side
        _add_arm(joints, name, side, build, chest, -0.5 * swing)
        _add_leg(joints, name, side, build, hips, 0.42 * swing, 0.15 + 0.55 * max(0.0, math.cos(phase) * side))
    return Body(joints, chest, hips, head, build, sitting=False)


def _add_arm(
    joints: dict[str, np.ndarray], name: str, side: float, build: Proportions, chest: np.ndarray, forward: float
) -> None:
    upper = _unit([side * 0.18, -math.cos(forward), math.sin(forward)])
    fore = _unit([side * 0.08, -math.cos(forward + 0.45), math.sin(forward + 0.45)])
    joints[f"{name}_shoulder"] = joints["thorax"] + chest @ np.array([side * build.shoulder, -0.012, 0])
    joints[f"{name}_elbow"] = joints[f"{name}_shoulder"] + build.upper_arm * (chest @ upper)
    joints[f"{name}_wrist"] = joints[f"{name}_elbow"] + build.forearm * (chest @ fore)
    joints[f"{name}_hand"] = joints[f"{name}_wrist"] + 0.055 * (chest @ fore)


def _add_leg(
    joints: dict[str, np.ndarray], name: str, side: float, build: Proportions, hips: np.ndarray, forward: float, bend: float
) -> None:
    thigh = _unit([side * 0.06, -math.cos(forward), math.sin(forward)])
    shank = _unit([side * 0.04, -math.cos(forward - bend), math.sin(forward - bend)])
    toes = _unit([side * 0.25, -0.25 - math.sin(forward - bend), math.cos(forward - bend)])
    joints[f"{name}_hip"] = hips @ np.array([side * build.hip, 0, 0])
    joints[f"{name}_knee"] = joints[f"{name}_hip"] + build.thigh * (hips @ thigh)
    joints[f"{name}_ankle"] = joints[f"{name}_knee"] + build.shank * (hips @ shank)
    joints[f"{name}_heel"] = joints[f"{name}_ankle"] + 0.022 * (hips @ shank)
    joints[f"{name}_toes"] = joints[f"{name}_heel"] + 0.085 * (hips @ toes)


def _unit(vector: list[float]) -> np.ndarray:
    array = np.array(vector)
    unit: np.ndarray = array / np.sqrt(array @ array)
    return unit
