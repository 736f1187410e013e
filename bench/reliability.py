"""What scores are worth, measured on synthetic figures: `python bench/reliability.py [FILE.h5 VARIANT] [--plot FILE.png]`.

Always of the weights that come with epcore, and of files that are named. Figures from easy to hopeless, as many of each kind:
default and hard ones that fill their picture, and distant ones in their box, in one twice too wide, and in the whole picture.
Prints the share of keypoints within half a head's size (PCKh@50) by score, for single keypoints and for poses, and the curves
that `epcore.pose.confidence` has.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import epcore
from epcore.data.distant import DistantFigures
from epcore.data.record import Record
from epcore.data.synthetic import SyntheticFigures
from epcore.evaluate.pckh import normalized_distances
from epcore.evaluate.reliability import Bin, fit_curve, reliability
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose.box import Box
from epcore.pose.confidence import Curve
from epcore.pose.predict import predict_pixels

EDGES = [step / 20 for step in range(21)]


def cases(count: int) -> Iterator[tuple[Record, Box | None, float]]:
    """Picture, where to look, margin."""
    for variety in ("default", "hard"):
        figures = SyntheticFigures(count, split="test", variety=variety)
        yield from ((figures.record(index), None, 1.0) for index in range(count))
    scenes = DistantFigures(count, seed=1)
    for record in map(scenes.record, range(count)):
        box = Box.around(record.keypoints)
        yield from ((record, box, 1.25), (record, box, 2.5), (record, None, 1.0))


def measure(weights: Path, variant: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores and whether right: of keypoints, then mean score and share of right ones of poses."""
    model = epcore.EfficientPose(variant)
    epcore.load_weights(model, weights)
    plan = epcore.compile(model)
    scores, right, pose_scores, shares = [], [], [], []
    for record, box, margin in cases(count):
        pose = predict_pixels(record.pixels(), plan, box=box, margin=margin)
        assert record.head_box is not None
        distances = normalized_distances(
            pose.points[None], record.keypoints[None], record.annotated[None], record.head_box[None]
        )[0]
        known = record.annotated
        if known.any():
            scores.append(pose.scores[known])
            right.append(distances[known] <= 0.5)
            pose_scores.append(pose.score)
            shares.append(float(right[-1].mean()))
    return np.concatenate(scores), np.concatenate(right), np.array(pose_scores), np.array(shares)


def table(bins: list[Bin], curve: Curve) -> str:
    lines = ["| score | number | right, % | curve, % |", "|---|---|---|---|"]
    for each in bins:
        middle = (each.low + each.high) / 2
        lines.append(
            f"| {each.low:.2f} to {each.high:.2f} | {each.count} | {100 * each.share:.1f} | {100 * curve.share(middle):.1f} |"
        )
    return "\n".join(lines)


def rounded(curve: Curve) -> Curve:
    return Curve(tuple(round(score, 3) for score in curve.scores), tuple(round(share, 3) for share in curve.shares))


def plot(curves: dict[str, tuple[list[Bin], Curve]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    at = np.linspace(0, 1, 201)
    for colour, (name, (bins, curve)) in zip(("tab:blue", "tab:orange", "tab:green"), curves.items(), strict=False):
        axes.plot([(each.low + each.high) / 2 for each in bins], [each.share for each in bins], "o", color=colour, label=name)
        axes.plot(at, [curve.share(score) for score in at], color=colour, linewidth=1)
    axes.axhline(0.5, color="0.6", linewidth=0.5)
    axes.set(xlabel="score of a keypoint", ylabel="share within half a head's size", xlim=(0, 1), ylim=(0, 1))
    axes.grid(True, linewidth=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="*", help="FILE VARIANT, any number of pairs")
    parser.add_argument("--count", type=int, default=300, help="figures of each kind (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of the keypoints' curves")
    arguments = parser.parse_args()
    pairs = list(zip(arguments.weights[::2], arguments.weights[1::2], strict=True))
    networks = [("RT, epcore's weights", SHIPPED_WEIGHTS["RT"], "RT")]
    networks += [(f"{variant}, {Path(path).name}", Path(path), variant) for path, variant in pairs]
    curves = {}
    for name, path, variant in networks:
        scores, right, pose_scores, shares = measure(path, variant, arguments.count)
        keypoint, pose = fit_curve(scores, right), fit_curve(pose_scores, shares)
        curves[name] = reliability(scores, right, EDGES), keypoint
        print(f"## {name}\n\nKeypoints, half of them right from {keypoint.score(0.5):.3f} on: {rounded(keypoint)}\n")
        print(table(curves[name][0], keypoint))
        print(f"\nPoses, half of their keypoints right from {pose.score(0.5):.3f} on: {rounded(pose)}\n")
        print(table(reliability(pose_scores, shares, EDGES), pose), flush=True)
    if arguments.plot:
        plot(curves, arguments.plot)


if __name__ == "__main__":
    main()
