"""How far from exact every family of processors computes networks and a training step, and what it decided.

    python tests/family_errors.py        # the table in docs/processors.md; EPCORE_DATA names the golden outputs

The parent computes what has no golden file in double, with the reference backend, which no family changes; a child of each
family compares. Errors are the largest difference, of maps as they are (they reach from about -0.1 to 1), of the plan of II and
of gradients as shares of the largest value.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import epcore
from epcore.network import Network

GOLDEN = (("RT", "photo"), ("RT", "gradient"), ("I", "photo"))
MAPS = ("pafs", "confs2", "confs3", "upscaled")


def settled(variant: str, seed: int = 1) -> Network:
    """Random scales and shifts, and the running statistics of a random picture: values keep their size from layer to layer as
    in a trained network."""
    model = epcore.EfficientPose(variant, seed=seed).astype(np.float64)
    rng = np.random.default_rng(seed)
    for name, array in model.parameters.items():
        if name.endswith("gamma"):
            model.parameters[name] = rng.uniform(0.5, 1.5, array.shape)
        elif name.endswith(("beta", "bias")):
            model.parameters[name] = rng.normal(0, 0.3, array.shape)
    momentum, model.momentum = model.momentum, 0.0
    with epcore.use_backend("reference"):  # in double on every family: the same weights
        model.train().run(rng.normal(size=(2, 64, 64, 3)))
    model.momentum = momentum
    return model.eval().astype(np.float32)


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def gradients(model: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    """Of all trainable parameters, for the sum of the mean squares of all low-resolution maps."""
    tape = epcore.Tape()
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
    """What the cases without a golden file give in double, as .npz files that `errors` reads."""
    with epcore.use_backend("reference"):
        model = settled("II").astype(np.float64)
        outputs = model(picture(1, 368, 368, 3).astype(np.float64))
        np.savez(folder / "II.npz", **{name: getattr(outputs, name) for name in MAPS})
        np.savez(folder / "step.npz", **gradients(settled("RT").astype(np.float64), picture(2, 128, 128, 3).astype(np.float64)))


def errors(folder: Path, data: str | None) -> Iterator[tuple[str, float]]:
    """(case, error) of this process' processor."""
    for variant, name in GOLDEN if data else ():
        model = epcore.EfficientPose(variant)
        epcore.load_weights(model, Path(str(data), "release", f"EfficientPose{variant}.h5"))
        with np.load(Path(str(data), "golden", f"EfficientPose{variant}.npz")) as golden:
            outputs = epcore.compile(model)(golden[f"{name}/x"])
            yield f"{variant} {name}", max(_distance(getattr(outputs, label), golden[f"{name}/{label}"]) for label in MAPS)
    with np.load(folder / "II.npz") as expected:
        outputs = epcore.compile(settled("II"))(picture(1, 368, 368, 3))
        yield (
            "plan of II",
            max(_distance(getattr(outputs, label), maps) / np.abs(maps).max() for label, maps in expected.items()),
        )
    with np.load(folder / "step.npz") as expected, epcore.use_backend("cpu"):
        found = gradients(settled("RT"), picture(2, 128, 128, 3))
        largest = max(np.abs(gradient).max() for gradient in expected.values())
        yield "training step", max(_distance(found[name], gradient) for name, gradient in expected.items()) / largest


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Infinity where something is not a number."""
    return float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max())


def describe(folder: Path) -> dict[str, object]:
    from epcore.kernels.cpu.processor import PROCESSOR, choices

    return {
        "triple": PROCESSOR.triple, "cpu": PROCESSOR.cpu, "features": sorted(PROCESSOR.features), "choices": choices(),
        "errors": dict(errors(folder, os.environ.get("EPCORE_DATA"))),
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
            rows[cpu] = json.loads(result.stdout)["errors"]
        columns = list(next(iter(rows.values())))
        print(f"| family | {' | '.join(columns)} |")
        print("|---" * (len(columns) + 1) + "|")
        for cpu, found in rows.items():
            print(f"| {cpu} | {' | '.join(f'{found[column]:.1e}' for column in columns)} |")


if __name__ == "__main__":
    main()
