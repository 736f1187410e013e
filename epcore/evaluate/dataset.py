"""A network's predictions on a data set, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from epcore.base.arrays import to_numpy
from epcore.data.preparation import Dataset
from epcore.data.record import Record, crop_square
from epcore.evaluate.multiscale import PredictMaps, average_maps, locate
from epcore.evaluate.pckh import normalized_distances
from epcore.inference.engine import engine
from epcore.network import Network
from epcore.not_numbers import require_numbers
from epcore.pose.preprocess import normalize


@dataclass(frozen=True)
class Evaluation:
    """names: of the N records. predictions (N,J,2) float64, pixels of the original pictures. scores (N,J): of the peaks.

    distances (N,J): to the truth, in units of PCKh's l; see `normalized_distances`.
    """

    names: list[str]
    predictions: np.ndarray
    scores: np.ndarray
    distances: np.ndarray


def evaluate_dataset(
    predict_maps: PredictMaps,
    dataset: Dataset,
    resolution: int,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Evaluation:
    """Predict the main person of every record (epoch 0) and compare.

    predict_maps: gets the batch of one picture's scales and flips. Raises ValueError for a record without head box.
    """
    names, predictions, scores, truths = [], [], [], []
    for index in progress(range(len(dataset))):
        record = dataset.record(index)
        located, heights, _ = predict_record(predict_maps, record, resolution, scales=scales, flip=flip)
        if record.head_box is None:
            raise ValueError(f"{record.name} has no head box: PCKh cannot be computed for it")
        names.append(record.name)
        predictions.append(located)
        scores.append(heights)
        truths.append((record.keypoints, record.annotated, record.head_box))
    keypoints, annotated, boxes = (np.stack(column) for column in zip(*truths, strict=True))
    points = np.stack(predictions)
    return Evaluation(names, points, np.stack(scores), normalized_distances(points, keypoints, annotated, boxes))


def predict_record(
    predict_maps: PredictMaps, record: Record, resolution: int, *, scales: Sequence[float] = (1.0,), flip: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints (J,2) in pixels of the original picture, scores (J,), averaged maps (h,w,J) of the crop."""
    square = crop_square(record)
    maps, frame = average_maps(predict_maps, record.pixels(), square, resolution, scales=scales, flip=flip)
    points, scores = locate(maps, frame, resolution)
    return points, scores, maps


def map_predictor(model: Network, batch: int, resolution: int, *, backend: str = "auto") -> PredictMaps:
    """A function from pictures (batch,R,R,3) uint8 to the last confidence maps, by what `engine` chooses. It normalises the
    pictures as the model wants them.

    Raises as `engine` does. The function raises ValueError where the maps are not numbers, saying why.
    """
    chosen = engine(model, batch, resolution=resolution, backend=backend)

    def predict(pictures: np.ndarray) -> np.ndarray:
        x = normalize(pictures, chosen.preprocessing)
        maps = to_numpy(chosen(x).final)
        require_numbers(maps, chosen, x)
        return maps

    return predict
