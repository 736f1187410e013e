"""How far from exact every family of processors computes networks and a training step, and what it decided.

    python tests/family_errors.py        # the table in docs/processors.md; EPCORE_DATA names the golden outputs

The parent computes what has no golden file in double, and how far float32 may be from it (tests/tolerances.py), with the
reference backend, which no family changes; a child of each family compares. Errors are the largest difference: of the published
networks' maps as they are (they reach from about -0.1 to 1), of a plan of II and of gradients as shares of the largest value.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tolerances import MARGIN, largest_deviation, settle

import epcore
from epcore.network import Network
from epcore.tape import Tape

GOLDEN = (("RT", "photo"), ("RT", "gradient"), ("I", "photo"))
GOLDEN_BOUND = 1e-5
MAPS = ("pafs", "confs2", "confs3", "upscaled")
# name of the case -> (variant, shape of x)
IN_DOUBLE = {"plan of II": ("II", (1, 368, 368, 3)), "training step": ("RT", (2, 128, 128, 3))}


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def maps(x: np.ndarray, model: Network, tape: Tape) -> dict[str, np.ndarray]:
    outputs, _ = model.record(x, tape)
    return {label: tensor.data for label, tensor in outputs.items()}


def gradients(x: np.ndarray, model: Network, tape: Tape) -> dict[str, np.ndarray]:
    """Of all trainable parameters, for the sum of the mean squares of all low-resolution maps."""
    model.drop_connect = False
    outputs, watched = model.train().record(x, tape)
    total = None
    for label in ("pafs", "confs2", "confs3"):
        term = tape.apply("mse", outputs[label], np.zeros_like(outputs[label].data))
        total = term if total is None else tape.apply("add", total, term)
    assert total is not None
    tape.backward(total)
    return {name: gradient for name, tensor in watched.items() if (gradient := tape.gradient(tensor)) is not None}


def compute_expectations(folder: Path) -> None:
    """Weights, what they give in double and the bounds of the cases without a golden file, for `compare`."""
    for case, evaluate in (("plan of II", maps), ("training step", gradients)):
        variant, shape = IN_DOUBLE[case]
        with epcore.use_backend("reference"):
            model = settle(epcore.EfficientPose(variant))
            exact, deviations = largest_deviation(model, partial(evaluate, picture(*shape).astype(np.float64)))
        np.savez(folder / f"{case} weights.npz", **model.parameters)
        np.savez(folder / f"{case} exact.npz", **exact)
        np.savez(folder / f"{case} bounds.npz", **{name: np.array(MARGIN * far) for name, far in deviations.items()})


def compare(folder: Path, data: str | None) -> Iterator[tuple[str, float, float]]:
    """(case, error, share of the bound that it is) of this process' processor."""
    for variant, name in GOLDEN if data else ():
        model = epcore.EfficientPose(variant)
        epcore.load_weights(model, Path(str(data), "release", f"EfficientPose{variant}.h5"))
        with np.load(Path(str(data), "golden", f"EfficientPose{variant}.npz")) as golden:
            outputs = epcore.compile(model)(golden[f"{name}/x"])
            error = max(_distance(getattr(outputs, label), golden[f"{name}/{label}"]) for label in MAPS)
        yield f"{variant} {name}", error, error / GOLDEN_BOUND
    for case, (variant, shape) in IN_DOUBLE.items():
        model = epcore.EfficientPose(variant)
        with np.load(folder / f"{case} weights.npz") as weights:
            model.parameters = {name: weights[name] for name in model.parameters}
        if case == "training step":
            with epcore.use_backend("cpu"):
                found = gradients(picture(*shape), model, Tape())
        else:
            outputs = epcore.compile(model)(picture(*shape))
            found = {label: getattr(outputs, label) for label in MAPS}
        with np.load(folder / f"{case} exact.npz") as exact, np.load(folder / f"{case} bounds.npz") as bounds:
            largest = max(np.abs(array).max() for array in exact.values())
            distances = {name: _distance(found[name], array) for name, array in exact.items()}
            share = max(distances[name] / float(bound) for name, bound in bounds.items())
        yield case, max(distances.values()) / float(largest), share


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Infinity where something is not a number."""
    return float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max())


def describe(folder: Path) -> dict[str, object]:
    from epcore.kernels.cpu.processor import PROCESSOR, choices

    rows = list(compare(folder, os.environ.get("EPCORE_DATA")))
    return {
        "triple": PROCESSOR.triple, "cpu": PROCESSOR.cpu, "features": sorted(PROCESSOR.features), "choices": choices(),
        "errors": {case: error for case, error, _ in rows}, "of_bound": {case: share for case, _, share in rows},
    }  # fmt: skip


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(describe(Path(sys.argv[1]))))
        return
    from families import executable, run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compute_expectations(folder)
        rows = {}
        for cpu, reason in executable().items():
            if reason:
                print(f"{cpu}: {reason}", file=sys.stderr)
                continue
            result = run(cpu, folder, __file__, str(folder))
            if result.returncode:
                sys.exit(f"{cpu}: {result.stderr}")
            rows[cpu] = json.loads(result.stdout)
        columns = list(next(iter(rows.values()))["errors"])
        print(f"| family | {' | '.join(columns)} |")
        print("|---" * (len(columns) + 1) + "|")
        for cpu, found in rows.items():
            cells = [f"{found['errors'][column]:.1e} ({found['of_bound'][column]:.0%})" for column in columns]
            print(f"| {cpu} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
