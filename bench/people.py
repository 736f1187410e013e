"""Small people in large pictures: `python bench/people.py`, 100 synthetic scenes, with the weights that come with epcore.

What the whole picture gives and whether that is said, what `--find` finds, and a person's box with the usual margin beside the
tight crop, the picture cut at that box's square beforehand. A pose is right when 80 % of its keypoints lie within half a head's
size. Other scenes: --seed; other weights: --weights FILE --model VARIANT.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

import epcore
from epcore.data.distant import DistantFigures
from epcore.data.record import Record
from epcore.evaluate.pckh import normalized_distances, pckh
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose.affine import crop_matrix, invert, transform_points, warp
from epcore.pose.box import CROP_MARGIN, Box
from epcore.pose.confidence import PUBLISHED, SHIPPED
from epcore.pose.find import find_person
from epcore.pose.predict import predict_pixels


def tight_crop(record: Record, plan: epcore.Plan) -> np.ndarray:
    """Keypoints (J,2) of the square around the person, cut out of the picture before the network sees it."""
    box = Box.around(record.keypoints)
    side = round(max(box.width, box.height) * CROP_MARGIN)
    matrix = crop_matrix((*box.centre, side), side)
    points: np.ndarray = predict_pixels(warp(record.pixels(), matrix, side), plan).points
    return transform_points(points, invert(matrix))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default="RT")
    arguments = parser.parse_args()
    model = epcore.EfficientPose(arguments.model)
    epcore.load_weights(model, arguments.weights or SHIPPED_WEIGHTS[arguments.model])
    calibration = PUBLISHED if arguments.weights else SHIPPED
    plan = epcore.compile(model)
    scenes = DistantFigures(arguments.count, seed=arguments.seed)
    rows: dict[str, list[np.ndarray]] = {"whole picture": [], "--find": [], "--box": [], "tight crop": []}
    warned, sure, looks = 0, 0, 0
    for record in map(scenes.record, range(arguments.count)):
        look = partial(predict_pixels, record.pixels(), plan)
        found = find_person(lambda box, margin, look=look: look(box=box, margin=margin), calibration=calibration)
        whole = look()
        points = (whole.points, found.pose.points, look(box=Box.around(record.keypoints)).points, tight_crop(record, plan))
        warned += whole.score < calibration.sure_pose
        sure += found.sure
        looks += found.looks
        for row, each in zip(rows.values(), points, strict=True):
            assert record.head_box is not None
            row.append(
                normalized_distances(each[None], record.keypoints[None], record.annotated[None], record.head_box[None])[0]
            )
    print("| | poses right, % | PCKh@50 | PCKh@10 |\n|---|---|---|---|")
    for name, distances in rows.items():
        all_of_them = np.stack(distances)
        right = ((all_of_them <= 0.5).mean(axis=1) >= 0.8).mean()
        print(f"| {name} | {100 * right:.0f} | {pckh(all_of_them).total:.1f} | {pckh(all_of_them, 0.1).total:.1f} |")
    count = arguments.count
    print(
        f"\nSaid of the whole picture that it shows nobody: {warned} of {count}. "
        f"--find sure: {sure} of {count}, {looks / count:.0f} looks each."
    )


if __name__ == "__main__":
    main()
