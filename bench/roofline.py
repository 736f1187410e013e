"""The roofline: every measured kernel's rate over its arithmetic intensity, under what the machine can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(rows: Sequence[Mapping[str, Any]], peaks: Mapping[str, float], path: Path) -> None:
    """Points for all epcore rows that state FLOPs and bytes; lines for the measured product peak and copy bandwidth."""
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    intensities = [2.0**power for power in range(-4, 9)]
    roof = [min(peaks["product"], peaks["copy"] * intensity) / 1e9 for intensity in intensities]
    axes.plot(intensities, roof, color="0.3", linewidth=1.5, label="measured peaks")
    groups = dict.fromkeys(row["group"] for row in rows)
    for group, colour in zip(groups, plt.colormaps["tab10"].colors, strict=False):  # type: ignore[attr-defined]
        points = [
            row for row in rows if row["group"] == group and row["contender"] == "epcore" and row["flops"] and row["bytes"]
        ]
        if points:
            x = [row["flops"] / row["bytes"] for row in points]
            y = [row["flops"] / row["milliseconds"] / 1e6 for row in points]
            axes.scatter(x, y, s=22, color=colour, label=group)
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte of input, weights and output", ylabel="GFLOP/s")
    axes.set_title("Rate of every measured kernel against arithmetic intensity")
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=130)
    plt.close(figure)
