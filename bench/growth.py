"""The plot of how time and memory grow: one panel an axis, both against the same numbers, double logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

AXES = {"resolution": "pixels of the input", "batch": "images", "variant": "GFLOP an image", "threads": "threads"}


def draw(curves: Mapping[str, Sequence[tuple[float, Any]]], path: Path) -> None:
    """curves: title -> points (place on the axis, row)."""
    figure, panels = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.8), layout="constrained", squeeze=False)
    for panel, (title, points) in zip(panels[0], curves.items(), strict=True):
        at = [place for place, _ in points]
        panel.plot(at, [row.milliseconds for _, row in points], "o-", color="tab:blue", label="ms a call")
        panel.plot(at, [row.mebibytes for _, row in points], "s--", color="tab:orange", label="MiB of the plan")
        first = points[0]
        ideal = [first[1].milliseconds * (first[0] / x if "threads" in title else x / first[0]) for x in at]
        panel.plot(at, ideal, ":", color="0.5", label="in proportion")
        word = next(word for word in AXES if word in title)
        panel.set(xscale="log", yscale="log", title=title, xlabel=AXES[word])
        panel.set_xticks(at, [f"{place:.3g}" if place < 1e3 else f"{place:.0f}" for place in at], fontsize=7)
        panel.set_xticks([], minor=True)
        for place, row in points:
            panel.annotate(row.case, (place, row.milliseconds), fontsize=7, xytext=(3, -9), textcoords="offset points")
        panel.grid(True, which="both", linewidth=0.3)
        panel.legend(fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)
