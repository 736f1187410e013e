"""`epcore plot RUN`: loss, PCKh, learning rate and sigma over the epochs, as in the paper's Figure 6."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from epcore.base.figures import file_of, kind_of, new_figure
from epcore.base.files import check_writable
from epcore.commands.console import add_output
from epcore.commands.result import Result

# Events of a log, and their numbers that are drawn; the highest of these.
_DRAWN = {"step": ("epoch", "loss", "rate", "sigma"), "validation": ("epoch", "pckh50", "pckh10")}
_HIGHEST = 1e30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs; several are drawn one after another")
    add_output(parser, "--output", named=True, help="picture to write, .png, .svg or .pdf (default: RUN/curves.png)")


def run(arguments: argparse.Namespace) -> Result:
    output = str(arguments.output or Path(arguments.runs[-1]) / "curves.png")
    kind = kind_of(output, "--output")
    histories = [read_history(folder) for folder in arguments.runs]
    check_writable(output)
    return Result(output, files={output: draw(histories, kind)})


def read_history(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """ "step" and "validation" lines of a run's log.

    Raises FileNotFoundError, or ValueError for a log without steps or with lines that lack the numbers that are drawn.
    """
    from epcore.train.log import RunLog
    from epcore.train.run_folder import LOG

    log = Path(folder) / LOG
    events = RunLog(log).read()
    history = {kind: [event for event in events if event["event"] == kind] for kind in _DRAWN}
    for kind, keys in _DRAWN.items():
        for event in history[kind]:
            for key in keys:
                value = event.get(key)
                if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _HIGHEST:
                    given = f"{value!r:.40}"
                    raise ValueError(f"{log}: the {kind} at {event.get('step')} has {key} {given}, expected a number")
    if not history["step"]:
        raise ValueError(f"{folder} has nothing to plot: no step was logged yet")
    return history


def draw(histories: list[dict[str, list[dict[str, Any]]]], kind: str) -> bytes:
    """The picture's file. Raises ModuleNotFoundError without matplotlib."""
    figure = new_figure("epcore plot", figsize=(9, 7), layout="constrained")
    (loss, accuracy), (rate, sigma) = figure.subplots(2, 2, sharex=True)
    start = 0.0
    for number, history in enumerate(histories):
        steps, validations = history["step"], history["validation"]
        epochs = [start + event["epoch"] for event in steps]
        loss.plot(epochs, [event["loss"] for event in steps], color="C0", alpha=0.3, linewidth=0.8)
        loss.plot(epochs, smoothed([event["loss"] for event in steps]), color="C0")
        for key, label, colour in (("pckh50", "PCKh@50", "C1"), ("pckh10", "PCKh@10", "C2")):
            at = [start + event["epoch"] for event in validations]
            accuracy.plot(at, [event[key] for event in validations], "o-", color=colour, markersize=3, label=label)
        rate.plot(epochs, [event["rate"] for event in steps], color="C3")
        sigma.plot(epochs, [event["sigma"] for event in steps], color="C4", drawstyle="steps-post")
        start = max([*epochs, *(start + event["epoch"] for event in validations)])
        if number == 0:
            accuracy.legend(loc="center right")
        if number < len(histories) - 1:
            for axes in (loss, accuracy, rate, sigma):
                axes.axvline(start, color="0.7", linewidth=0.8, linestyle="--")
    for axes, title, unit in (
        (loss, "Loss", "summed over the maps, mean over pictures"),
        (accuracy, "Validation", "percent (official convention)"),
        (rate, "Learning rate", ""),
        (sigma, "Sigma", "pixels of the detection map"),
    ):
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
    loss.set_yscale("log")
    rate.set_yscale("log")
    highest = max(event["rate"] for history in histories for event in history["step"])
    rate.set_ylim(bottom=highest / 1e4)  # the end of a cosine goes on to 0
    accuracy.set_ylim(0, 100)
    sigma.set_ylim(bottom=0)
    for axes in (rate, sigma):
        axes.set_xlabel("epoch")
    return file_of(figure, kind)


def smoothed(values: list[float], decay: float = 0.9) -> list[float]:
    """Exponential mean, bias-corrected."""
    mean, result = 0.0, []
    for number, value in enumerate(values, start=1):
        mean = decay * mean + (1 - decay) * value
        result.append(mean / (1 - decay**number))
    return result
