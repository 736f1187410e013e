"""The benchmark session: rows collected from all tests, one table at the end, JSON and a roofline plot beside it.

pytest bench/ -m "not gpu"              everything a CPU can run
pytest bench/ --bench-output DIR        where results.json, results.md and roofline.png go (default: out/bench)
EPCORE_THREADS=2 pytest bench/          threads of epcore and of every peer
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from epcore.threads import get_threads, set_threads


@dataclass(frozen=True)
class Row:
    """One measurement: `ratio` is epcore's median over the fastest peer's, where there are peers."""

    group: str
    case: str
    contender: str
    milliseconds: float
    spread: float
    flops: int = 0
    bytes: int = 0
    images: int = 0
    ratio: float | None = None


class Book:
    """All rows of the session, and what the machine can do at most."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.peaks: dict[str, float] = {}

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def markdown(self) -> str:
        lines = []
        for group in dict.fromkeys(row.group for row in self.rows):
            rows = [row for row in self.rows if row.group == group]
            lines += ["", f"### {group}", ""]
            lines.append("| case | contender | ms (median) | spread | GFLOP/s | of peak | GB/s | of copy | images/s | ratio |")
            lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
            lines += [self._line(row) for row in rows]
        return "\n".join(lines).strip()

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
            f"{row.ratio:.2f}" if row.ratio is not None else "",
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-output", default="out/bench", help="folder for results.json, results.md and roofline.png")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BOOK] = Book()


BOOK = pytest.StashKey[Book]()


@pytest.fixture(scope="session")
def book(pytestconfig: pytest.Config) -> Book:
    """The session's rows. Peaks are measured at the first use."""
    from measure import copy_bandwidth, product_peak

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
    rows = [asdict(row) for row in book.rows]
    (folder / "results.json").write_text(json.dumps({"machine": machine(), "peaks": book.peaks, "rows": rows}, indent=1))
    terminalreporter.write_line(text)
    try:
        from roofline import draw

        draw(rows, book.peaks, folder / "roofline.png")
    except ImportError:
        terminalreporter.write_line("no roofline.png: matplotlib is not installed")
