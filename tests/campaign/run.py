"""Runs the campaign: cases to worker processes, each watched for death, for time and for memory; counts by outcome."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from campaign import recipes
from campaign.attempt import PARTIAL, REFUSED, RIGHT, TRACEBACK, attempt, describe, quiet
from campaign.mutate import mutate
from campaign.seeds import KINDS, seeds

CRASH, HANG, MEMORY = "crash", "hang over 10 s", "memory over 1 GB"
OUTCOMES = (RIGHT, REFUSED, TRACEBACK, CRASH, HANG, MEMORY, PARTIAL)
GOOD = (RIGHT, REFUSED)
SECONDS, BYTES = 10.0, 10**9  # of processors' time, where that is known
WAITING = 60.0 if sys.platform == "linux" else SECONDS  # seconds without so much
_SHARE = {"weights": 8, "vectors": 3, "checkpoint": 3, "tensor": 2, "picture": 4, "mpii": 4, "log": 2, "config": 2, "split": 1}
# Imported before time counts.
_LARGE = (
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "epcore.data.annotations",
    "epcore.train.trainer",
)  # to import
_COMMAND = 0.1  # of the cases go through the command line

Case = tuple[int, int] | str  # (seed, number), or a recipe's name


def case_of(case: Case) -> tuple[str, str, bytes, str]:
    """(kind, name, content, through) of a case, the same every time."""
    if isinstance(case, str):
        recipe = recipes.RECIPES[case]
        return recipe.kind, recipe.name, recipe.make(), recipe.through
    rng = np.random.default_rng(list(case))
    share = np.array([_SHARE[kind] for kind in KINDS], float)
    kind = KINDS[int(rng.choice(len(KINDS), p=share / share.sum()))]
    names = list(seeds()[kind])
    name = names[int(rng.integers(len(names)))]
    through = "command" if rng.random() < _COMMAND else "library"
    return kind, name, mutate(seeds()[kind][name], name, rng), through


def work(pipe: Connection, folder: str) -> None:
    """A worker process: a case comes, its outcome goes."""
    os.environ["EPCORE_THREADS"] = "1"
    quiet()
    seeds()
    for module in _LARGE:
        with suppress(ModuleNotFoundError):
            import_module(module)
    pipe.send("ready")
    while (case := pipe.recv()) is not None:
        kind, name, content, through = case_of(case)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            path = Path(own) / name
            path.write_bytes(content)
            pipe.send("made")  # from here on time counts
            outcome = attempt(kind, path, through)
            left = sorted(file.name for file in Path(own).iterdir() if file.name != name and not file.name.startswith("out"))
            if left:
                outcome = PARTIAL, f"left beside the file: {left}"
        pipe.send((kind, through, describe(outcome)))


class Worker:
    """One such process, and the most memory that it and the processes below it had together."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(120) or self._pipe.recv() != "ready":
            raise RuntimeError("a worker did not start")

    def attempt(self, case: Case) -> tuple[str, str, dict[str, Any], int]:
        """(kind, through, description, most bytes)."""
        self._pipe.send(case)
        try:
            made = self._pipe.recv()
        except EOFError:
            made = None
        if made != "made":
            raise RuntimeError(f"the case {case} could not be made")
        start, most = time.monotonic(), 0
        before = processor_seconds(self._process.pid)
        while not self._pipe.poll(0.02):
            most = max(most, memory_of(self._process.pid))
            elapsed = time.monotonic() - start
            if elapsed < SECONDS or (elapsed < WAITING and processor_seconds(self._process.pid) - before < SECONDS):
                continue
            self._process.kill()
            return self._lost(case, HANG, most)
        try:
            kind, through, description = self._pipe.recv()
        except EOFError:
            return self._lost(case, CRASH, most)
        if most > BYTES:
            description = {"outcome": MEMORY, "said": f"{most} bytes; {description['said']}"}
        return kind, through, description, most

    def _lost(self, case: Case, outcome: str, most: int) -> tuple[str, str, dict[str, Any], int]:
        self._process.join()
        code = self._process.exitcode
        self._start()
        kind, _, _, through = case_of(case)
        return kind, through, {"outcome": outcome, "said": f"exit code {code}"}, most

    def end(self) -> None:
        self._pipe.send(None)
        self._process.join(10)


def processor_seconds(pid: int | None) -> float:
    """That a process, all below it and those that ended have had, on Linux: others may hold the machine. 0 elsewhere."""
    total = 0.0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def tree(pid: int | None) -> list[int | None]:
    """A process and all below it."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def memory_of(pid: int | None) -> int:
    """Bytes that a process and all below it have in memory, on Linux; each page shared by some counts for each. 0 elsewhere."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def campaign(cases: Sequence[Case], workers: int = 2) -> Iterator[dict[str, Any]]:
    """One line a case, in the order in which they end: case, kind, through, outcome, said, bytes, seconds."""
    lock, left = threading.Lock(), list(reversed(cases))
    done: list[Any] = []
    changed = threading.Condition(lock)

    def serve(folder: str) -> None:
        try:
            work_off(folder)
        except Exception as error:
            with changed:
                done.append(error)
                changed.notify()

    def work_off(folder: str) -> None:
        worker = Worker(folder)
        while True:
            with lock:
                if not left:
                    break
                case = left.pop()
            start = time.monotonic()
            kind, through, description, most = worker.attempt(case)
            line = {"case": case, "kind": kind, "through": through, **description, "bytes": most}
            with changed:
                done.append(line | {"seconds": time.monotonic() - start})
                changed.notify()
        worker.end()

    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        threads = [threading.Thread(target=serve, args=(folder,), daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for _ in range(len(cases)):
            with changed:
                while not done:
                    if not changed.wait(300):
                        raise RuntimeError("the workers are gone")
                line = done.pop(0)
            if isinstance(line, Exception):
                raise line
            yield line
        for thread in threads:
            thread.join()


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Counts by kind and outcome."""
    rows = [f"{'':<12}{'cases':>8}" + "".join(f"{name:>18}" for name in OUTCOMES)]
    for kind in (*KINDS, "all"):
        counted = Counter(line["outcome"] for line in lines if kind in (line["kind"], "all"))
        rows.append(f"{kind:<12}{sum(counted.values()):>8}" + "".join(f"{counted[name]:>18}" for name in OUTCOMES))
    most, slowest = max(lines, key=lambda line: line["bytes"]), max(lines, key=lambda line: line["seconds"])
    rows.append(f"through the command line: {sum(line['through'] == 'command' for line in lines)}")
    rows.append(f"most memory: {most['bytes'] / 1e6:.0f} MB; longest: {slowest['seconds']:.1f} s")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--cases", type=int, default=500, help="how many files (500)")
    parser.add_argument("--seed", type=int, default=0, help="of all of them (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--case", type=int, action="append", help="only this number of the seed's cases; may be repeated")
    parser.add_argument("--recipes", action="store_true", help="the files that failed once, instead")
    parser.add_argument("--failures", metavar="FILE", help="write those that fail, one JSON object a line")
    options = parser.parse_args(arguments)
    numbers = options.case if options.case else range(options.cases)
    cases: list[Case] = list(recipes.RECIPES) if options.recipes else [(options.seed, number) for number in numbers]
    lines = []
    with suppress(KeyboardInterrupt):  # then the counts are of what was done
        for line in campaign(cases, options.workers):
            lines.append(line)
            if len(lines) % 1000 == 0:
                print(f"{len(lines)} cases", file=sys.stderr, flush=True)
            if line["outcome"] not in GOOD or options.case:
                print(json.dumps(line), flush=True)
    if options.failures:
        failed = [line for line in lines if line["outcome"] not in GOOD]
        Path(options.failures).write_text("".join(json.dumps(line) + "\n" for line in failed), "utf-8")
    print(table(lines))
    return int(any(line["outcome"] not in GOOD for line in lines))
