"""One training step of epcore and of its PyTorch twin, and the memory each takes in a process of its own.

python bench/training.py epcore RT 8        peak resident memory of three steps, MiB: in all, and above what it had before
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np

import epcore
from epcore.graph import Graph
from epcore.network import Network
from epcore.ops import OPS
from epcore.tape import Tape
from epcore.threads import get_threads

RATE = 1e-3
Targets = Mapping[str, np.ndarray]
Step = Callable[[np.ndarray, Targets], float]


def trained(variant: str) -> epcore.EfficientPose:
    """The network as it is trained: upscaling frozen, everything else in training mode."""
    model = epcore.EfficientPose(variant)
    model.train().freeze("upscale")
    return model


def without_drop_connect(model: Network) -> Network:
    """The same with rate 0: what is dropped is drawn at random, and results could not be compared."""
    nodes = {
        name: replace(node, attributes={"rate": 0.0}) if OPS[node.op].identity_at_inference else node
        for name, node in model.graph.nodes.items()
    }
    model.graph = Graph(model.graph.input_shape, nodes, model.graph.parameters, model.graph.outputs)
    return model


def examples(model: epcore.EfficientPose, batch: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A random batch and targets for pass 1, pass 2 and the upscaled maps of pass 3."""
    rng = np.random.default_rng(seed)
    shapes = model.graph.shapes(batch)
    x = rng.normal(size=shapes["input"]).astype(np.float32)
    labels = ("pafs", "confs2", "upscaled")
    return x, {label: rng.random(shapes[model.graph.outputs[label]], np.float32) for label in labels}


def epcore_step(model: Network) -> Step:
    def step(x: np.ndarray, targets: Targets) -> float:
        tape = Tape()
        outputs, watched = model.record(x, tape)
        losses = [tape.apply("mse", outputs[label], target) for label, target in targets.items()]
        loss = reduce(lambda a, b: tape.apply("add", a, b), losses)
        tape.backward(loss)
        for name, tensor in watched.items():
            model.parameters[name] -= np.float32(RATE) * tape.gradient(tensor)
        return float(loss.data)

    return step


def torch_step(model: Network) -> Step:
    import torch
    from torch_twin import Twin

    torch.set_num_threads(get_threads())
    return Twin(model, RATE).step


STEPS = {"epcore": epcore_step, "PyTorch": torch_step}


def peak_memory(contender: str, variant: str, batch: int) -> tuple[float, float]:
    """(peak, peak above what the process had before its first step) of a new process, MiB."""
    arguments = [sys.executable, "-W", "ignore", str(Path(__file__)), contender, variant, str(batch)]
    result = subprocess.run(arguments, check=True, capture_output=True, text=True)
    whole, above = result.stdout.split()
    return float(whole), float(above)


def _status(key: str) -> float:
    """A line of Linux's /proc/self/status, MiB. (`resource.getrusage` would count the process that started this one.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024


def _main(contender: str, variant: str, batch: str) -> None:
    model = trained(variant)
    x, targets = examples(model, int(batch), 0)
    step = STEPS[contender](model)
    before = _status("VmRSS")
    for _ in range(3):
        step(x, targets)
    peak = _status("VmHWM")
    print(peak, peak - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
