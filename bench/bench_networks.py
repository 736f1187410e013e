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
from peers import final_label, peers
from training import without_drop_connect

import epcore
from epcore.models.variants import build_network
from epcore.network import Network

CASES = [
    *((name, 1) for name in ("RT", "I", "II", "III", "IV", "RT Lite", "I Lite", "OpenPose")),
    *((name, 8) for name in ("RT", "I", "RT Lite", "I Lite")),
]
ROUNDS = {"RT": 60, "I": 40, "II": 15, "III": 7, "IV": 4, "RT Lite": 60, "I Lite": 40, "OpenPose": 4}


def weights_file(name: str) -> Path:
    return Path(os.environ.get("EPCORE_DATA", "")) / f"release/EfficientPose{name.replace(' Lite', '_LITE')}.h5"


def published(name: str) -> Network:
    """With the authors' weights where they are at hand (RT, I, their Lite models), else random ones, on which time does not
    depend, with the running statistics of a random picture. Then a deep network changes its maps by a quarter when its input
    changes by an epsilon (IV), and right results could not be told from wrong ones; with batch norms' scales halved none does
    by more than a few epsilons."""
    model = build_network(name)
    if isinstance(model, epcore.EfficientPose) and weights_file(name).is_file():
        epcore.load_weights(model, weights_file(name))
        return model
    without_drop_connect(model).momentum = 0.0
    model.train().run(np.random.default_rng(0).standard_normal((1, *model.graph.input_shape), np.float32))
    for key in model.parameters:
        if key.endswith("/gamma"):
            model.parameters[key] *= np.float32(0.5)
    return model.eval()


@pytest.mark.parametrize(("variant", "batch"), CASES)
def bench_inference(variant: str, batch: int, book: Book, benchmark: Any) -> None:
    model = published(variant)
    plan, label = epcore.compile(model, batch), final_label(model)
    found, missing = peers(model, batch)

    def own(x: np.ndarray) -> np.ndarray:
        outputs = plan(x)
        maps: np.ndarray = outputs[label] if isinstance(outputs, dict) else outputs.final
        return maps

    contenders: dict[str, Callable[[np.ndarray], np.ndarray]] = {"epcore": own, **found}
    shape = (batch, *model.graph.input_shape)
    inputs = rotation(lambda i: np.random.default_rng(i).normal(size=shape).astype(np.float32))
    expected = own(inputs[0])
    for name, run in contenders.items():
        if "TFLite" in name and not weights_file(variant).is_file():
            continue  # its file holds the authors' weights, the others random ones: the same work on other numbers
        # TFLite's weights are stored in half precision, the others differ by the order of sums.
        tolerance = 3e-2 if "TFLite" in name else 1e-4
        assert np.abs(run(inputs[0]) - expected).max() <= tolerance * np.abs(expected).max(), name
    case = f"{variant}, batch {batch}"
    for name, reason in missing.items():
        book.note("Inference", f"{case}: {name} is missing, {reason}.")
    rounds = max(3, ROUNDS[variant] // (1 if batch == 1 else 4))
    samples = side_by_side(contenders, inputs, rounds=rounds)
    benchmark.pedantic(plan, args=(inputs[0],), rounds=max(3, rounds // 2), warmup_rounds=1)
    fastest = min((sample.median for name, sample in samples.items() if name != "epcore"), default=None)
    flops = 2 * sum(cost.macs for cost in model.graph.costs(batch).values())
    for name, sample in samples.items():
        ratio = sample.median / fastest if name == "epcore" and fastest else None
        book.add(Row("Inference", case, name, sample.median * 1e3, sample.spread, flops, images=batch, ratio=ratio))
