"""How exactly each way of decoding places keypoints, by the map's resolution: `python bench/refinement.py`, 500 test figures.

The maps of the network before upscaling (28 x 28 for RT), after one of its three upscalings, and after all, decoded by each
method of `epcore.pose.decode`. Other weights: --weights FILE --model VARIANT. Errors: the median, in input pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import epcore
from epcore.data.synthetic import SyntheticFigures
from epcore.evaluate.pckh import normalized_distances, pckh
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.ops.conv_transpose2d import bilinear_kernel, forward
from epcore.pose.crop import preprocess_part
from epcore.pose.decode import decode
from epcore.pose.refine import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--model", default="RT")
    arguments = parser.parse_args()
    model = epcore.EfficientPose(arguments.model)
    epcore.load_weights(model, arguments.weights or SHIPPED_WEIGHTS[arguments.model])
    plan = epcore.compile(model)
    size = plan.resolution
    figures = SyntheticFigures(arguments.count, split="test")
    records = [figures.record(index) for index in range(arguments.count)]
    points: dict[tuple[int, str], list[np.ndarray]] = {}
    for record in records:
        x, place = preprocess_part(record.pixels(), size)
        outputs = plan(x)
        low = outputs.confs[-1]
        middle, _ = forward(low, bilinear_kernel(low.shape[-1]).astype(np.float32))
        for maps in (low, middle, outputs.final):
            for method in METHODS:
                found, _ = decode(maps[0], method=method)
                points.setdefault((maps.shape[1], method), []).append(place.to_picture(found))
    keypoints, known = np.stack([each.keypoints for each in records]), np.stack([each.annotated for each in records])
    heads = np.stack([each.head_box for each in records if each.head_box is not None])
    print("| map | method | PCKh@50 | PCKh@10 | median error, input pixels |\n|---|---|---|---|---|")
    for (side, method), found in points.items():
        distances = normalized_distances(np.stack(found), keypoints, known, heads)
        offsets = (np.stack(found) - keypoints)[known] * size / figures.size
        error = np.median(np.hypot(offsets[:, 0], offsets[:, 1]))
        print(
            f"| {side} x {side} | {method} | {pckh(distances).total:.1f} | {pckh(distances, 0.1).total:.1f} | {error:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
