"""The roofline: every measured kernel's rate over its arithmetic intensity, under what the machine can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MARKERS = "os^DvP"  # one for every round of the ten colours
LEAST = 16  # rarer operations (squeeze-and-excitation has one for a thousand bytes) are not what such a step is about


def draw(rows: Sequence[Mapping[str, Any]], peaks: Mapping[str, float], path: Path) -> None:
    """Points for the epcore rows that state FLOPs and bytes; lines for the measured product peak and copy bandwidth."""
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    ridge = peaks["product"] / peaks["copy"]
    axes.plot(
        [1 / LEAST, ridge, max(256, 4 * ridge)],
        [peaks["copy"] / LEAST / 1e9, peaks["product"] / 1e9, peaks["product"] / 1e9],
        color="0.3", linewidth=1.5, label="measured peaks",
    )  # fmt: skip
    for number, (group, points) in enumerate(measured(rows).items()):
        x = [row["flops"] / row["bytes"] for row in points]
        y = [row["flops"] / row["milliseconds"] / 1e6 for row in points]
        name = group.removeprefix("Kernel: ")
        axes.scatter(
            x,
            y,
            s=18,
            color=f"C{number % 10}",
            marker=MARKERS[number // 10 % len(MARKERS)],
            alpha=0.7,
            linewidths=0,
            label=name,
        )
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte of input, weights and output", ylabel="GFLOP/s")
    axes.set_title("Rate of every measured kernel against arithmetic intensity")
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def measured(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows that have a place in the plot, by group: those with at least one operation for LEAST bytes."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["contender"] == "epcore" and row["bytes"] and LEAST * row["flops"] >= row["bytes"]:
            groups.setdefault(row["group"], []).append(row)
    return groups
