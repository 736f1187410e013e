"""The benchmark session: rows collected from all tests, one table at the end, JSON and a roofline plot beside it.

pytest bench/ -m "not gpu"              everything a CPU can run
pytest bench/ --bench-output DIR        where results.json, results.md, kernels.md and the plots go (default: out/bench)
EPCORE_THREADS=2 pytest bench/          threads of epcore and of every peer
EPCORE_THREADS=1 pytest bench/ --processor-time     on a machine that is busy with other things
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import process_time

import pytest
from measure import Clock, copy_bandwidth, product_peak

from epcore.threads import get_threads, set_threads

KERNEL = "Kernel: "


@dataclass(frozen=True)
class Row:
    """One measurement: `ratio` is epcore's median over the fastest peer's, where there are peers; mebibytes: peak memory."""

    group: str
    case: str
    contender: str
    milliseconds: float
    spread: float
    flops: int = 0
    bytes: int = 0
    images: int = 0
    mebibytes: float | None = None
    ratio: float | None = None


class Book:
    """All rows of the session, and what the machine can do at most."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.peaks: dict[str, float] = {}
        self.sections: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}
        self.curves: dict[str, list[tuple[float, Row]]] = {}

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def note(self, group: str, text: str) -> None:
        """A line below a group's table: what could not be measured."""
        self.notes.setdefault(group, []).append(text)

    def section(self, title: str, text: str) -> None:
        """Text with a form of its own, after the tables."""
        self.sections[title] = text

    def markdown(self) -> str:
        """Whole tables, but of groups called "Kernel: ..." (hundreds of rows) one line each; `details` has those."""
        groups = list(dict.fromkeys(row.group for row in self.rows))
        lines = []
        for group in groups:
            if not group.startswith(KERNEL):
                lines += ["", f"### {group}", "", *self._table(group)]
                lines += ["", *self.notes[group]] if group in self.notes else []
        if kernels := [group for group in groups if group.startswith(KERNEL)]:
            lines += ["", "### Kernels: all shapes of an operator together", ""]
            lines.append("| operator | shapes | epcore ms | PyTorch ms | ratio | median ratio | worst ratio | GFLOP/s | GB/s |")
            lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
            lines += [self._summary(group) for group in kernels]
        for title, text in self.sections.items():
            lines += ["", f"### {title}", "", text]
        return "\n".join(lines).strip()

    def details(self) -> str:
        """Every row of the kernels."""
        lines = []
        for group in dict.fromkeys(row.group for row in self.rows if row.group.startswith(KERNEL)):
            lines += ["", f"### {group}", "", *self._table(group)]
        return "\n".join(lines).strip()

    def _table(self, group: str) -> list[str]:
        head = "| case | contender | ms (median) | spread | GFLOP/s | of peak | GB/s | of copy | images/s | peak MiB | ratio |"
        return [head, "|---|---|" + "---:|" * 9, *(self._line(row) for row in self.rows if row.group == group)]

    def _summary(self, group: str) -> str:
        own = [row for row in self.rows if row.group == group and row.contender == "epcore"]
        peer = sum(row.milliseconds for row in self.rows if row.group == group and row.contender != "epcore")
        total = sum(row.milliseconds for row in own)
        ratios = [row.ratio for row in own if row.ratio is not None]
        rate, traffic = sum(row.flops for row in own) / total / 1e6, sum(row.bytes for row in own) / total / 1e6
        cells = [
            group.removeprefix(KERNEL), str(len(own)), f"{total:.2f}", f"{peer:.2f}" if peer else "",
            f"{total / peer:.2f}" if peer else "", f"{median(ratios):.2f}" if ratios else "",
            f"{max(ratios):.2f}" if ratios else "", f"{rate:.0f}" if rate else "", f"{traffic:.1f}",
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"

    def _line(self, row: Row) -> str:
        seconds = row.milliseconds / 1e3
        rate, traffic = row.flops / seconds, row.bytes / seconds
        cells = [
            row.case, row.contender, f"{row.milliseconds:.3f}", f"{row.spread:.0%}",
            f"{rate / 1e9:.0f}" if row.flops else "",
            f"{rate / self.peaks['product']:.0%}" if row.flops and "product" in self.peaks else "",
            f"{traffic / 1e9:.1f}" if row.bytes else "",
            f"{traffic / self.peaks['copy']:.0%}" if row.bytes and "copy" in self.peaks else "",
            f"{row.images / seconds:.1f}" if row.images else "",
            f"{row.mebibytes:.0f}" if row.mebibytes is not None else "",
            f"{row.ratio:.2f}" if row.ratio is not None else "",
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-output", default="out/bench", help="folder for results and plots")
    parser.addoption(
        "--processor-time", action="store_true", help="time spent on processors instead of wall time; for one thread"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BOOK] = Book()
    if config.getoption("--processor-time"):
        Clock.use_processor_time()


BOOK = pytest.StashKey[Book]()


@pytest.fixture(scope="session")
def book(pytestconfig: pytest.Config) -> Book:
    """The session's rows. Peaks are measured at the first use."""
    book = pytestconfig.stash[BOOK]
    set_threads(get_threads())
    try:
        import torch

        torch.set_num_threads(get_threads())
    except ImportError:
        pass
    if not book.peaks:
        book.peaks = {"product": product_peak(), "copy": copy_bandwidth()}
    return book


def machine() -> dict[str, object]:
    """Kind of processor, threads and versions: what a figure needs beside it."""
    from importlib.metadata import PackageNotFoundError, version

    def found(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    packages = ("numpy", "numba", "torch", "onnxruntime", "ai-edge-litert")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": get_threads(),
        "clock": "processor time" if Clock.now is process_time else "wall time",
        "python": platform.python_version(),
        **{package: found(package) for package in packages},
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    book = config.stash[BOOK]
    if not book.rows:
        return
    folder = Path(config.getoption("--bench-output"))
    folder.mkdir(parents=True, exist_ok=True)
    peaks = ", ".join(
        text
        for key, text in (
            ("product", f"largest product {book.peaks.get('product', 0) / 1e9:.0f} GFLOP/s"),
            ("copy", f"copy {book.peaks.get('copy', 0) / 1e9:.0f} GB/s"),
        )
        if key in book.peaks
    )
    facts = ", ".join(f"{key} {value}" for key, value in machine().items() if value is not None)
    text = f"{facts}. Measured peaks: {peaks}.\n\n{book.markdown()}\n"
    (folder / "results.md").write_text(text)
    if details := book.details():
        (folder / "kernels.md").write_text(details + "\n")
    rows = [asdict(row) for row in book.rows]
    (folder / "results.json").write_text(
        json.dumps({"machine": machine(), "peaks": book.peaks, "rows": rows, "notes": book.notes}, indent=1)
    )
    terminalreporter.write_line(text)
    try:
        import growth
        import roofline
    except ImportError:
        terminalreporter.write_line("no plots: matplotlib is not installed")
        return
    roofline.draw(rows, book.peaks, folder / "roofline.png")
    if book.curves:
        growth.draw(book.curves, folder / "growth.png")
