"""How time and memory grow with resolution, batch, variant and threads; plotted as growth.png."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import VARIANTS
from conftest import Book, Row
from measure import side_by_side

import epcore
from epcore.threads import get_threads

RESOLUTIONS = (128, 224, 320, 416, 512)
BATCHES = (1, 2, 4, 8, 16)


def measure(plan: Any, model: epcore.EfficientPose, group: str, case: str, book: Book, at: float) -> None:
    """One point of a curve; `at` is its place on the axis."""
    inputs = [np.random.default_rng(seed).standard_normal(plan.input_shape, np.float32) for seed in range(2)]
    flops = 2 * sum(cost.macs for cost in model.graph.costs(plan.batch, plan.input_shape[1:]).values())
    rounds = int(np.clip(4e10 / flops, 4, 15))
    sample = side_by_side({"epcore": plan}, inputs, rounds=rounds, warm_up=2)["epcore"]
    memory = plan.arena_bytes / 2**20
    row = Row(group, case, "epcore", sample.median * 1e3, sample.spread, flops, images=plan.batch, mebibytes=memory)
    book.add(row)
    book.curves.setdefault(group, []).append((at, row))


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def bench_resolution(resolution: int, book: Book) -> None:
    model = epcore.EfficientPose("RT")
    plan = epcore.compile(model, resolution=resolution)
    measure(plan, model, "Growth with resolution (RT)", f"{resolution}x{resolution}", book, resolution**2)


@pytest.mark.parametrize("batch", BATCHES)
def bench_batch(batch: int, book: Book) -> None:
    model = epcore.EfficientPose("RT")
    measure(epcore.compile(model, batch), model, "Growth with batch (RT)", f"batch {batch}", book, batch)


@pytest.mark.parametrize("variant", VARIANTS)
def bench_variant(variant: str, book: Book) -> None:
    model = epcore.EfficientPose(variant)
    macs = sum(cost.macs for cost in model.graph.costs().values())
    measure(epcore.compile(model), model, "Growth with variant", variant, book, 2 * macs / 1e9)


@pytest.mark.parametrize("threads", sorted({1, *(2**k for k in range(1, 7) if 2**k < get_threads()), get_threads()}))
def bench_threads(threads: int, book: Book) -> None:
    model = epcore.EfficientPose("I")
    plan = epcore.compile(model, threads=threads)
    measure(plan, model, "Growth with threads (I)", f"{threads} threads", book, threads)
