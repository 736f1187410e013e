"""CPU kernels one by one: every operator of the five networks at every shape, forward and backward, beside PyTorch; every
fused layer of the plans; and how exact all of them are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from cases import VARIANTS, Case, cases
from conftest import Book, Row
from measure import CACHE_BYTES, Clock, side_by_side

import epcore

try:
    from quality import Quality, measure
    from torch_kernels import TorchCall, to_numpy
except ImportError:
    TorchCall = None  # type: ignore[assignment,misc]

BUDGET = 0.05  # seconds for one contender of one case
CASES = cases()


def rounds(run: Callable[[], Any]) -> int:
    """How often something is timed: after a first run that may compile, by what the second takes."""
    run()
    started = Clock.now()
    run()
    return int(np.clip(BUDGET / (Clock.now() - started), 3, 30))


@pytest.mark.parametrize("op", sorted({case.node.op for case in CASES}))
def bench_operator(op: str, book: Book, benchmark: Any) -> None:
    """Every shape of one operator. Results are compared before they are timed."""
    own = [case for case in CASES if case.node.op == op]
    for case in own:
        compare_and_time(case, book)
    case = own[0]
    forward, _ = case.functions("cpu")
    benchmark.pedantic(forward, args=(case.arguments(0),), rounds=5, warmup_rounds=1)


def compare_and_time(case: Case, book: Book) -> None:
    elements = prod(case.output_shape) + sum(prod(shape) for shape in case.shapes if shape is not None)
    sets = int(np.clip(CACHE_BYTES // (4 * elements), 2, 4))
    data = [(case.arguments(seed), case.gradient(seed)) for seed in range(sets)]
    forward, backward = case.functions("cpu")
    results = [forward(arguments) for arguments, _ in data]
    runs: dict[str, dict[str, Callable[[int], Any]]] = {
        "forward": {"epcore": lambda i: forward(data[i][0])},
        "backward": {"epcore": lambda i: backward(data[i][1], results[i][1])},
    }
    if TorchCall is not None:
        calls = [TorchCall(case, *each) for each in data]
        outputs = [call.forward() for call in calls]
        runs["forward"]["PyTorch"] = lambda i: calls[i].forward()
        runs["backward"]["PyTorch"] = lambda i: calls[i].backward(outputs[i])
        mine = [results[0][0], *(g for g in backward(data[0][1], results[0][1]) if g is not None)]
        for i, (a, tensor) in enumerate(zip(mine, [outputs[0], *calls[0].backward(outputs[0])], strict=True)):
            b = to_numpy(tensor, is_map=i <= len(case.node.inputs)).reshape(a.shape)
            assert np.abs(a - b).max() <= 2e-4 * max(1e-3, np.abs(b).max()), f"{case.label}: result {i}"
    cost = case.cost
    for direction, contenders in runs.items():
        count = rounds(lambda: contenders["epcore"](0))  # noqa: B023
        samples = side_by_side(contenders, range(sets), rounds=count, warm_up=1, block=15, pause=0.015, settle=0.003)
        peer = samples.get("PyTorch")
        back = direction == "backward"
        flops = 2 * (cost.backward_macs if back else cost.macs)
        moved = 4 * (2 * elements - prod(case.output_shape) if back else elements)  # dy, x, weights read; dx, dw written
        for name, sample in samples.items():
            ratio = sample.median / peer.median if name == "epcore" and peer else None
            group = f"Kernel: {case.node.op} {direction}"
            book.add(Row(group, case.label, name, sample.median * 1e3, sample.spread, flops, moved, ratio=ratio))


@pytest.mark.parametrize("variant", VARIANTS)
def bench_plan_layers(variant: str, book: Book, benchmark: Any) -> None:
    """The steps of a plan, each layer shape once (the time a step takes by itself)."""
    model = epcore.EfficientPose(variant)
    plan = epcore.compile(model)
    shapes = model.graph.shapes()
    profile = plan.profile(repeats=5 if model.resolution > 400 else 15)
    steps = zip(profile, plan.steps, strict=True)
    seen: set[Any] = set()
    for timing, step in steps:
        key = (type(step), timing.flops, [shapes[name] for name in step.reads], shapes.get(step.output))
        key = repr(key)
        if key in seen:
            continue
        seen.add(key)
        milliseconds = timing.seconds * 1e3
        label = f"{variant} {timing.label}"
        book.add(Row("Kernel: fused layers of the plans", label, "epcore", milliseconds, 0.0, timing.flops, timing.bytes))
    benchmark.pedantic(plan, args=(np.zeros(plan.input_shape, np.float32),), rounds=3, warmup_rounds=1)


def bench_numeric_quality(book: Book) -> None:
    """Largest error of every operator against double, beside PyTorch's, over all shapes at a small resolution."""
    if TorchCall is None:
        pytest.skip("PyTorch is not installed")
    worst: dict[tuple[str, str], list[Quality]] = defaultdict(list)
    for case in cases(resolution=64):
        for quality in measure(case):
            worst[case.node.op, quality.result].append(quality)
    lines = ["| operator | result | shapes | epcore | PyTorch | where epcore errs more |", "|---|---|---:|---:|---:|---:|"]
    for (op, result), found in worst.items():
        mine, theirs = max(quality.epcore for quality in found), max(quality.torch for quality in found)
        more = sum(quality.epcore > quality.torch for quality in found)
        lines.append(f"| {op} | {result} | {len(found)} | {mine:.2f} | {theirs:.2f} | {more} |")
    book.section("Largest error against double, in float32 epsilons of the largest value", "\n".join(lines))
