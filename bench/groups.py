"""How many of several figures `epcore.pose.group` finds: in exact maps, and in those of networks trained on one person.

    python bench/groups.py [--scenes 50] [--overlay scene.png] [FILE...]

FILE: weights of RT; without any, those that come with epcore. A figure counts as found where one pose, of its own, has at least
half of its keypoints within PCKh@50. In exact maps figures lie anywhere in 224 pixels, across each other too; one counts as
back where a pose has just its keypoints, within 1.5 pixels.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

import epcore
from epcore.base.table import Table
from epcore.data import scene
from epcore.data.body import VARIETIES, sample_body
from epcore.data.figure import PARTS, Figure
from epcore.data.looks import Looks
from epcore.evaluate.pckh import head_sizes
from epcore.models.efficientpose import PoseOutputs
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose import Pose, draw_pose, group, preprocess
from epcore.pose.encode import render_targets

SIDE = 448  # pixels
KINDS = {"apart": 0.56, "near": 0.3}  # distance of the figures' middles, as a share of the picture's side


def two_figures(seed: int, distance: float) -> tuple[np.ndarray, list[Figure]]:
    """A cluttered picture (SIDE,SIDE,3) uint8 with two figures beside each other, and these."""
    rng = np.random.default_rng(seed)
    variety = VARIETIES["default"]
    canvas, owner = np.empty((SIDE, SIDE, 3), np.float32), np.full((SIDE, SIDE), scene.NOTHING, np.int16)
    light = scene.sample_light(rng)
    scene.draw_background(canvas, rng)
    scene.draw_clutter(canvas, owner, rng, int(rng.poisson(variety.clutter)), light)
    figures = []
    for number, side in enumerate((-1, 1)):
        body = sample_body(rng, variety)
        extent = np.ptp(body.keypoints[:, :2], axis=0)
        stature = SIDE * min(rng.uniform(0.6, 0.8) / extent[1], 0.42 / extent[0])
        place = (SIDE * (0.5 + side * distance / 2), SIDE * rng.uniform(0.46, 0.54))
        figures.append(Figure.place(body, Looks.sample(rng), place, stature, number * len(PARTS)))
        figures[-1].draw(canvas, owner, light)
    return scene.expose(canvas, rng, variety), figures


def share_back(count: int, stature: float, least: float, scenes: int) -> float:
    """Of figures in exact maps, keypoints of a kind at least so far apart, pixels: the share that comes back whole."""
    back = 0
    for seed in range(scenes):
        rng = np.random.default_rng(seed)
        figures: list[np.ndarray] = []
        while len(figures) < count:
            points = sample_body(rng, VARIETIES["default"]).keypoints[:, :2] * (stature, -stature)
            points += rng.uniform(56, 168, 2) - (points.min(axis=0) + points.max(axis=0)) / 2
            if all(np.hypot(*(points - other).T).min() >= least for other in figures):
                figures.append(points)
        known = [((points >= 0) & (points < 224)).all(axis=1) for points in figures]
        targets = render_targets([list(zip(figures, known, strict=True))], 224, 16.0)
        poses = group(PoseOutputs(targets.pafs, (targets.confs,), targets.upscaled, (3,)))
        found = [pose.points.astype(np.float64) for pose in poses]
        for points, here in zip(figures, known, strict=True):
            same = [each for each in found if np.array_equal(~np.isnan(each[:, 0]), here)]
            back += any(np.abs(each - points)[here].max() <= 1.5 for each in same)
    return back / (count * scenes)


def hits(figures: list[Figure], poses: list[Pose]) -> np.ndarray:
    """(figures, poses): share of each figure's keypoints that are within PCKh@50 of the pose's."""
    reach = 0.5 * head_sizes(np.array([figure.head_box() for figure in figures]))
    shares = np.zeros((len(figures), len(poses)))
    for p, pose in enumerate(poses):
        points = pose.points.astype(np.float64)
        for f, figure in enumerate(figures):
            shares[f, p] = (np.hypot(*(points - figure.keypoints).T) <= reach[f]).mean()
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=[str(SHIPPED_WEIGHTS["RT"])])
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--overlay", help="picture of the first two near scenes, and those where the last file found both")
    arguments = parser.parse_args()
    exact = Table("<34", ">10.1%", ">14.1%")
    print(exact.line("exact maps, keypoints apart by", "16 pixels", "8 pixels"))
    for count, stature in ((2, 120.0), (3, 110.0), (4, 100.0)):
        shares = [share_back(count, stature, least, 2 * arguments.scenes) for least in (16.0, 8.0)]
        print(exact.line(f"{count} figures of {stature:g} pixels", *shares))
    print()
    table = Table("<34", "<10", ">10.0%", ">13.0%", ">12.0%", ">12.2f")
    print(table.line("weights", "figures", "found", "both found", "keypoints", "poses/pic"))
    for file in arguments.files:
        model = epcore.EfficientPose("RT")
        epcore.load_weights(model, file)
        plan = epcore.compile(model)
        for kind, distance in KINDS.items():
            found, right, poses_given, tiles = [], [], 0, []
            for seed in range(arguments.scenes):
                picture, figures = two_figures(seed, distance)
                x, geometry = preprocess(picture, model.resolution)
                poses = group(plan(x), geometry)
                shares = hits(figures, poses)
                rows, columns = linear_sum_assignment(shares, maximize=True)
                of_each = np.zeros(len(figures))
                of_each[rows] = shares[rows, columns]
                found.append(of_each >= 0.5)
                right.append(of_each)
                poses_given += len(poses)
                if seed < 2 or (of_each >= 0.5).all():
                    drawn = picture
                    for pose in poses:
                        drawn = np.array(draw_pose(drawn, pose, threshold=0))
                    tiles.append(drawn[::2, ::2])
            both = np.all(found, axis=1)
            name = file.rpartition("/")[2]
            print(table.line(name, kind, np.mean(found), both.mean(), np.mean(right), poses_given / arguments.scenes))
    if arguments.overlay:
        Image.fromarray(np.concatenate(tiles, axis=1)).save(arguments.overlay)


if __name__ == "__main__":
    main()
