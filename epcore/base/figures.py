"""Plots as files: which kinds there are, and matplotlib, which is imported where something is drawn only."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

KINDS = ("png", "svg", "pdf")


def kind_of(path: str, option: str) -> str:
    """By the end of its name. Raises ValueError for another one; option: what named it."""
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise ValueError(f"{option} is {path}, expected a name ending in .png, .svg or .pdf")
    return kind


def new_figure(what: str, **options: Any) -> Any:
    """A matplotlib Figure. what: needs it, for the message. Raises ModuleNotFoundError without matplotlib."""
    # It says on standard error where it keeps its list of fonts when there is no home; a plot is one process' affair.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{what} needs matplotlib: pip install epcore[plot]") from None
    return Figure(**options)


def file_of(figure: Any, kind: str, dpi: int = 120) -> bytes:
    """The picture's file."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi)
    return file.getvalue()
