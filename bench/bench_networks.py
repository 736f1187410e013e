"""Whole networks at inference: epcore's plan against TFLite, ONNX Runtime and PyTorch, same input, same threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Book, Row
from measure import rotation, side_by_side
from peers import peers
from training import without_drop_connect

import epcore

CASES = [("RT", 1), ("I", 1), ("II", 1), ("III", 1), ("IV", 1), ("RT", 8), ("I", 8)]
ROUNDS = {"RT": 60, "I": 40, "II": 15, "III": 7, "IV": 4}


def weights_file(variant: str) -> Path:
    return Path(os.environ.get("EPCORE_DATA", "")) / f"release/EfficientPose{variant}.h5"


def published(variant: str) -> epcore.EfficientPose:
    """With the authors' weights where they are at hand (RT, I), else random ones with the running statistics of a random
    picture: the time does not depend on them, but values that grow from layer to layer could not be compared."""
    model = epcore.EfficientPose(variant)
    if weights_file(variant).is_file():
        epcore.load_weights(model, weights_file(variant))
        return model
    without_drop_connect(model).momentum = 0.0
    model.train().run(np.random.default_rng(0).standard_normal((1, model.resolution, model.resolution, 3), np.float32))
    return model.eval()


@pytest.mark.parametrize(("variant", "batch"), CASES)
def bench_inference(variant: str, batch: int, book: Book, benchmark: Any) -> None:
    model = published(variant)
    plan = epcore.compile(model, batch)
    contenders: dict[str, Callable[[np.ndarray], Any]] = {"epcore": lambda x: plan(x).final, **peers(model, batch)}
    R = model.resolution
    inputs = rotation(lambda i: np.random.default_rng(i).normal(size=(batch, R, R, 3)).astype(np.float32))
    expected = plan(inputs[0]).final
    for name, run in contenders.items():
        if "TFLite" in name and not weights_file(variant).is_file():
            continue  # its file holds the authors' weights, the others random ones: the same work on other numbers
        # TFLite's weights are stored in half precision, the others differ by the order of sums.
        tolerance = 3e-2 if "TFLite" in name else 1e-4
        assert np.abs(run(inputs[0]) - expected).max() <= tolerance * max(1, np.abs(expected).max()), name
    rounds = max(3, ROUNDS[variant] // (1 if batch == 1 else 4))
    samples = side_by_side(contenders, inputs, rounds=rounds)
    benchmark.pedantic(plan, args=(inputs[0],), rounds=max(3, rounds // 2), warmup_rounds=1)
    fastest = min((sample.median for name, sample in samples.items() if name != "epcore"), default=None)
    flops = 2 * sum(cost.macs for cost in model.graph.costs(batch).values())
    for name, sample in samples.items():
        ratio = sample.median / fastest if name == "epcore" and fastest else None
        case = f"{variant}, batch {batch}"
        book.add(Row("Inference", case, name, sample.median * 1e3, sample.spread, flops, images=batch, ratio=ratio))
