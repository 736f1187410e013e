"""The report as text for a terminal, 80 to 100 columns wide; what a line is about stands at its beginning."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from epcore.doctor.report import WRONG, Report

WIDTH, NAME = max(80, min(100, shutil.get_terminal_size().columns)), 16


def machine_text(report: Report) -> str:
    """Title, machine and versions."""
    facts, found = report["machine"], report["compiled"]
    cores, usable = facts["cores"], facts["usable_cores"]
    shown = f"{cores} core{'s' if cores > 1 else ''}" + (f", {usable} usable" if usable != cores else "")
    lines = [f"epcore {report['epcore']}", "", "Machine"]
    lines += [_line("system", facts["system"]), _line("processor", f"{facts['processor']} ({shown})")]
    if found:
        forced = [name for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES") if name in facts["settings"]]
        note = f", forced by {' and '.join(forced)}" if forced else ""
        lines.append(_line("compiled for", f"{found['cpu']} ({found['triple']}){note}"))
        lines.append(_line("", " ".join(found["features"]) or "no vector features"))
        lines.append(_line("caches of a core", found["caches"]["text"].replace(",", ", ")))
        lines.append(_line("kernels' path", "; ".join(f"{path['name']}: {path['value']}" for path in found["paths"])))
    lines.append(_line("threads", f"{facts['threads']} ({facts['threads_because']})"))
    if found:
        layer = found["threading_layer"]
        lines.append(_line("Numba's threads", f"{layer['threads']}, by {layer['name']}"))
        lines.append(_line("BLAS", "; ".join(_blas(each) for each in found["blas"]) or "unknown"))
        lines.append(_line("kernels kept in", _cache(found["cache"])))
    if facts["settings"]:
        lines.append(_line("environment", " ".join(f"{name}={value}" for name, value in facts["settings"].items())))
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return "\n".join([*lines, _line("versions", versions)])


def checks_text(report: Report) -> str:
    """Optional parts, checks and the verdict."""
    lines = ["", "Optional parts", *(_line(part["name"], part["text"]) for part in report["parts"])]
    lines += ["", "Checks: float32 kernels against the float64 reference, forward and backward"]
    for row in report["checks"]:
        name = row["name"] if row["backend"] == "cpu" or row["name"].startswith("CUDA") else f"cuda {row['name']}"
        lines.append(_line(name, f"{row['status']:<8}{row['message']}", width=23))
    count = sum(row["status"] != "skipped" for row in report["checks"])
    if report["ok"]:
        verdict = f"All {count} checks are right ({report['seconds']:.0f} s)."
    else:
        names = ", ".join(report["failed"])
        verdict = f"{len(report['failed'])} of {count} checks {WRONG}: {names} ({report['seconds']:.0f} s)."
    return "\n".join([*lines, "", *textwrap.wrap(verdict, WIDTH)])


def _line(name: str, text: str, width: int = NAME + 2) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=f"  {name:<{width}}", subsequent_indent=" " * (width + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _blas(each: dict[str, Any]) -> str:
    threads = f", {each['threads']} threads" if each["threads"] else ""
    return f"{each['name']} {each['version']}".strip() + threads


def _cache(found: dict[str, Any]) -> str:
    if found["folder"] is None:
        return "nowhere: compiled again in every process; set NUMBA_CACHE_DIR to a folder that can be written"
    note = "" if found["writable"] else " (cannot be written: set NUMBA_CACHE_DIR)"
    return f"{found['folder']}{note}"
