"""Where gradients are wrong, as a picture: for each wrong one the student's, the right one and the difference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from epcore.base.figures import file_of, new_figure
from epcore.exercise.diagnose import Diagnosis
from epcore.exercise.evidence import Sample
from epcore.exercise.symmetries import axis_names

_ROWS = 6  # gradients that are drawn at most, each in the case in which most of it is right: there its place shows best


def draw(diagnosis: Diagnosis, kind: str) -> bytes:
    """The picture's file, of a kind that `epcore.base.figures` knows. Raises ModuleNotFoundError without matplotlib, ValueError
    where no values are wrong, so that there is nothing to draw."""
    samples = _chosen(diagnosis)
    if not samples:
        raise ValueError("--plot has nothing to draw: no gradient has wrong values")
    figure = new_figure("--plot", figsize=(10, 0.6 + 2.6 * len(samples)), layout="constrained")
    figure.suptitle(f"{diagnosis.op}: what is wrong, largest value over what a picture leaves out")
    for row, sample in zip(figure.subplots(len(samples), 3, squeeze=False), samples, strict=True):
        rows, columns, flat = _flat(sample)
        pictures = [flat(sample.got), flat(sample.right), flat(np.where(sample.wrong, sample.got - sample.right, 0))]
        largest = float(np.abs(pictures[1]).max()) or 1.0
        titles = (
            f"yours, d{sample.name}\n{sample.problem.case.label}",
            "right",
            f"difference, {sample.wrong.mean():.0%} wrong",
        )
        for axes, picture, title in zip(row, pictures, titles, strict=True):
            scale = largest if title != titles[2] else float(np.abs(picture).max())
            image = axes.imshow(picture, cmap="RdBu_r", vmin=-scale, vmax=scale, interpolation="nearest", aspect="auto")
            axes.set_title(title, fontsize=8)
            axes.set_xlabel(columns, fontsize=8)
            axes.set_ylabel(rows, fontsize=8)
            axes.tick_params(labelsize=7)
            axes.locator_params(integer=True)  # indices
            figure.colorbar(image, ax=axes).ax.tick_params(labelsize=7)
    return file_of(figure, kind)


def _chosen(diagnosis: Diagnosis) -> list[Sample]:
    """One case of each input that has wrong values."""
    found: dict[str, Sample] = {}
    for sample in diagnosis.samples:
        if not sample.is_right and (sample.name not in found or sample.wrong.mean() < found[sample.name].wrong.mean()):
            found[sample.name] = sample
    return list(found.values())[:_ROWS]


def _flat(sample: Sample) -> tuple[str, str, Callable[[np.ndarray], np.ndarray]]:
    """Names of the axes that are shown, and what makes a picture of an array: of the others the value of the largest size."""
    names = axis_names(sample.problem, sample.name, sample.got.ndim)
    shown = [axis for axis, name in enumerate(names) if name.endswith(("rows", "columns"))]
    if len(shown) != 2:
        shown = list(range(len(names)))[-2:]
    if all(sample.got.shape[axis] == 1 for axis in shown):  # weights of a 1x1 kernel: what is in it is seen
        shown = list(range(len(names)))[-2:]

    def flat(array: np.ndarray) -> np.ndarray:
        if array.ndim < 2:
            return array.reshape(1, -1)
        rest = np.moveaxis(array, shown, (-2, -1)).reshape(-1, *(array.shape[axis] for axis in shown))
        return np.asarray(np.take_along_axis(rest, np.abs(rest).argmax(axis=0)[None], axis=0)[0])

    if len(names) < 2:
        return "", names[0] if names else "", flat
    return names[shown[0]], names[shown[1]], flat
