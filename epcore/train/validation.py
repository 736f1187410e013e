"""Validation: PCKh on pictures that are not trained on, with the weights that would be kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from epcore.base.arrays import Array
from epcore.evaluate.dataset import Evaluation, evaluate_dataset, map_predictor
from epcore.evaluate.pckh import PCKh, pckh
from epcore.network import Network
from epcore.train.config import TrainConfig
from epcore.train.setup import validation_data


@dataclass(frozen=True)
class Validation:
    """pckh50, pckh10: at thresholds 0.5 and 0.1. seconds: that it took."""

    pckh50: PCKh
    pckh10: PCKh
    seconds: float

    def to_log(self) -> dict[str, Any]:
        """What a line of the run's log says of it."""
        return {
            "pckh50": self.pckh50.total, "pckh10": self.pckh10.total, "groups50": self.pckh50.groups,
            "groups10": self.pckh10.groups, "pictures": self.pckh50.persons, "seconds": round(self.seconds, 2),
        }  # fmt: skip


def validate(model: Network, config: TrainConfig, averages: Mapping[str, Array]) -> Validation:
    """Raises NotNumbersError where the maps are not numbers."""
    began = time.perf_counter()
    evaluation = evaluate(model, config, averages)
    return Validation(pckh(evaluation.distances, 0.5), pckh(evaluation.distances, 0.1), time.perf_counter() - began)


def evaluate(model: Network, config: TrainConfig, averages: Mapping[str, Array]) -> Evaluation:
    """The model's predictions on the validation pictures. averages: what stands in for its parameters meanwhile, by name."""
    with _replaced(model, averages):
        predict = map_predictor(model, 1, config.side, backend=config.backend)
        return evaluate_dataset(predict, validation_data(config), config.side)


@contextmanager
def _replaced(model: Network, parameters: Mapping[str, Array]) -> Iterator[None]:
    own = model.parameters
    model.parameters = {**own, **parameters}
    try:
        yield
    finally:
        model.parameters = own
