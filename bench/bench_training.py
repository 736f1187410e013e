"""A training step (forward on a tape, squared errors, backward, SGD) beside PyTorch's, and the memory of both."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Book, Row
from measure import side_by_side
from training import STEPS, Step, epcore_step, examples, peak_memory, trained, without_drop_connect


@pytest.mark.parametrize(("variant", "batch", "rounds"), [("RT", 8, 12), ("I", 4, 9)])
def bench_training(variant: str, batch: int, rounds: int, book: Book, benchmark: Any) -> None:
    data = [examples(trained(variant), batch, seed) for seed in range(2)]
    contenders: dict[str, Step] = {"epcore": epcore_step(trained(variant))}
    try:
        from training import torch_step

        contenders["PyTorch"] = torch_step(trained(variant))
        mine, theirs = (STEPS[name](without_drop_connect(trained(variant))) for name in ("epcore", "PyTorch"))
        for x, targets in data * 2:  # from the second on, a loss depends on the gradients of those before it
            a, b = mine(x, targets), theirs(x, targets)
            assert abs(a - b) <= 1e-4 * abs(b)
    except ImportError:
        pass
    runs = {name: lambda each, step=step: step(*each) for name, step in contenders.items()}
    samples = side_by_side(runs, data, rounds=rounds, warm_up=2)
    benchmark.pedantic(contenders["epcore"], args=data[0], rounds=3)
    model = trained(variant)
    costs = model.graph.costs(batch).values()
    flops = 2 * sum(cost.macs + cost.backward_macs for cost in costs)
    peer = samples.get("PyTorch")
    for name, sample in samples.items():
        ratio = sample.median / peer.median if name == "epcore" and peer else None
        whole, above = peak_memory(name, variant, batch)
        for group, memory in (("Training step", whole), ("Training step, memory above what the process had before", above)):
            facts = {"images": batch, "mebibytes": memory, "ratio": ratio}
            book.add(Row(group, f"{variant}, batch {batch}", name, sample.median * 1e3, sample.spread, flops, **facts))
