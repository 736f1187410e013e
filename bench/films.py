"""Films: how fast beside the network alone, whether memory grows, how good. `python bench/films.py [--frames 300] [FILE.h5]`.

A film of a walking figure, 640x480, H.264, is made first. Each stage is then added to the one before: the network on the same
input again and again; frames that are followed; with the overlay written. Rates are the best of several rounds in turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import numpy as np

import epcore
from epcore.commands.film import SHIPPED_MINIMUM
from epcore.data.walking import WalkingFigure
from epcore.evaluate.pckh import normalized_distances
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose.box import Box
from epcore.pose.predict import predict_pixels
from epcore.pose.skeleton import KEYPOINTS
from epcore.video import FilmPose, FilmReader, FilmWriter, Follower, OneEuro, predict_film
from epcore.video.behind import Behind
from epcore.video.overlay import draw_frame

COUNTED = [index for index, name in enumerate(KEYPOINTS) if name not in ("thorax", "pelvis")]


def resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def make(path: Path, figure: WalkingFigure) -> tuple[np.ndarray, np.ndarray]:
    keypoints, heads = [], []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = figure.width, figure.height, "yuv420p"
        for index in range(len(figure)):
            record = figure.record(index)
            keypoints.append(record.keypoints)
            heads.append(record.head_box)
            frame = av.VideoFrame.from_ndarray(record.pixels(), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return np.array(keypoints), np.array(heads)


def followed(path: Path, plan: Any, follower: Follower, overlay: Path | None) -> tuple[float, list[float]]:
    """Frames a second, and resident MiB every 50 frames."""
    memory = []
    with FilmReader.open(path) as film:
        begun, count = perf_counter(), 0
        poses = predict_film(film, plan, follower=follower)
        if overlay is None:
            for _ in poses:
                count += 1
                memory += [resident()] if count % 50 == 0 else []
        else:
            with overlay.open("wb") as file, FilmWriter(file, ".mp4", film) as writer, Behind() as behind:
                for seen in poses:
                    behind.do(partial(draw, writer, seen))
                    count += 1
                    memory += [resident()] if count % 50 == 0 else []
        return count / (perf_counter() - begun), memory


def draw(writer: FilmWriter, seen: FilmPose) -> None:
    writer.add(draw_frame(seen.frame.pixels, seen.pose, SHIPPED_MINIMUM), seen.frame.pts)


def alone(plan: Any, count: int) -> float:
    x = np.zeros((1, plan.resolution, plan.resolution, 3), np.float32)
    plan(x)
    begun = perf_counter()
    for _ in range(count):
        plan(x)
    return count / (perf_counter() - begun)


def quality(path: Path, plan: Any, minimum: float, keypoints: np.ndarray, heads: np.ndarray) -> None:
    points, single, boxes = [], [], []
    with FilmReader.open(path) as film:
        for seen in predict_film(film, plan, follower=Follower(minimum)):
            points.append(seen.pose.points)
            boxes.append(seen.pose.box)
            single.append(predict_pixels(seen.frame.pixels, plan, box=Box.around(keypoints[seen.number])).points)
    filter_ = OneEuro()
    smooth = [filter_.filter(p, i / 25, b.width if b else 640.0) for i, (p, b) in enumerate(zip(points, boxes, strict=True))]
    for name, found in (("single pictures, box known", single), ("film", points), ("film, smoothed", smooth)):
        distances = normalized_distances(np.array(found), keypoints, ~np.isnan(keypoints).any(axis=-1), heads)
        jitter = np.nanmedian(np.abs(np.diff(np.array(found) - keypoints, axis=0)))
        thirds = [float(np.nanmedian(part)) for part in np.array_split(distances, 3)]
        rates = [100 * float(np.nanmean(distances[:, COUNTED] <= tau)) for tau in (0.5, 0.1)]
        print(f"{name:28} PCKh@50 {rates[0]:5.1f}  @10 {rates[1]:5.1f}  jitter {jitter:.2f} px  "
              f"median error by thirds {thirds[0]:.3f} {thirds[1]:.3f} {thirds[2]:.3f} of the head")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?", help="of RT; by default those that come with epcore")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, arguments.weights or SHIPPED_WEIGHTS["RT"])
    plan = epcore.compile(model)
    minimum = 0.2 if arguments.weights else SHIPPED_MINIMUM
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk.mp4"
        keypoints, heads = make(path, WalkingFigure(arguments.frames))
        quality(path, plan, minimum, keypoints, heads)
        rates, ratios = [], []
        for _ in range(arguments.rounds):
            turn = [
                alone(plan, arguments.frames),
                followed(path, plan, Follower(minimum), None)[0],
                (last := followed(path, plan, Follower(minimum), Path(folder) / "out.mp4"))[0],
            ]
            rates.append(turn)
            ratios.append([turn[1] / turn[0], turn[2] / turn[0]])
        best, share = np.max(rates, axis=0), np.median(ratios, axis=0)
        print(f"frames/s, best: network alone {best[0]:.1f}, film {best[1]:.1f}, with overlay {best[2]:.1f}")
        print(f"share of the network's rate: best/best {best[1] / best[0]:.2f} and {best[2] / best[0]:.2f}, "
              f"median of the rounds {share[0]:.2f} and {share[1]:.2f}")  # fmt: skip
        print("resident MiB every 50 frames, with overlay:", " ".join(f"{each:.0f}" for each in last[1]))


if __name__ == "__main__":
    main()
