"""No file crashes epcore, keeps it busy, fills the memory, shows a traceback or leaves half an output."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from campaign import attempt, run
from campaign.mutate import mutate
from campaign.recipes import RECIPES
from campaign.run import CRASH, GOOD, HANG, MEMORY, campaign, case_of, main, table
from campaign.seeds import KINDS, seeds


def failures(lines: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(line) for line in lines if line["outcome"] not in GOOD)


def test_honest_files_are_right(tmp_path: Path) -> None:
    for kind, files in seeds().items():
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            if "nested" not in name and "B0_blocks123" not in name and "b0_blocks123" not in name:
                assert attempt.by_library(kind, tmp_path / name) == (attempt.RIGHT, ""), name


def test_five_hundred_cases_and_all_that_ever_failed() -> None:
    lines = list(campaign([*RECIPES, *((0, number) for number in range(500))]))
    assert not failures(lines)
    counted = Counter(line["outcome"] for line in lines)
    assert counted[attempt.RIGHT] > 50 and counted[attempt.REFUSED] > 250
    assert {line["kind"] for line in lines} == set(KINDS)
    said = {line["case"]: line["said"] for line in lines if isinstance(line["case"], str)}
    assert said.keys() == RECIPES.keys()
    wrong = {
        name: said[name]
        for name, recipe in RECIPES.items()
        if bool(said[name]) != bool(recipe.refused) or not re.search(recipe.refused, said[name])
    }
    assert not wrong


@pytest.mark.slow
def test_ten_thousand_cases() -> None:
    assert not failures(list(campaign([(1, number) for number in range(10_000)])))


def test_a_case_is_the_same_every_time() -> None:
    assert case_of((0, 17)) == case_of((0, 17))
    assert len({case_of((0, number))[2] for number in range(50)}) > 40


def test_mutations_change_files(rng: np.random.Generator) -> None:
    for files in seeds().values():
        for name, content in files.items():
            assert sum(mutate(content, name, rng) != content for _ in range(20)) > 10, name


# ---- planted faults: the campaign would notice


def planted(path: Path, then: Any) -> attempt.Outcome:
    def read(_: Path) -> None:
        raise then

    saved = dict(attempt._READERS)
    attempt._READERS["split"] = read
    try:
        return attempt.by_library("split", path)
    finally:
        attempt._READERS.update(saved)


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), RecursionError(), MemoryError(), ValueError("two\nlines"), ValueError(""), AssertionError(),
     SystemExit(1), KeyboardInterrupt(), UnicodeDecodeError("utf-8", b"x", 0, 1, "why")],
)  # fmt: skip
def test_other_errors_are_failures(error: BaseException, tmp_path: Path) -> None:
    assert planted(tmp_path / "x", error)[0] == attempt.TRACEBACK


def test_documented_errors_are_none(tmp_path: Path) -> None:
    assert planted(tmp_path / "x", ValueError("x is damaged")) == (attempt.REFUSED, "x is damaged")
    assert planted(tmp_path / "x", FileNotFoundError(2, "no such file", "x"))[0] == attempt.REFUSED


def test_files_left_over_are_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(arguments: list[str]) -> int:
        (tmp_path / "out" / "half.npz").write_bytes(b"")
        print("epcore: error: x", file=sys.stderr)
        return 2

    monkeypatch.setattr("epcore.cli.main", command)
    assert attempt.by_command(["x"], tmp_path / "out")[0] == attempt.PARTIAL


@pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")
def test_death_hanging_and_memory_are_failures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of workers that are other programs than ours."""
    monkeypatch.setattr(run, "work", misbehave)
    monkeypatch.setattr(run, "SECONDS", 2.0)
    monkeypatch.setattr(run, "WAITING", 60.0)
    monkeypatch.setattr(run, "BYTES", 2 * 10**8)
    worker = run.Worker(str(tmp_path))
    for number, outcome in ((0, CRASH), (1, HANG), (2, MEMORY)):
        assert worker.attempt((9, number))[2]["outcome"] == outcome
    worker.end()


def misbehave(pipe: Any, folder: str) -> None:
    import os

    pipe.send("ready")
    while (case := pipe.recv()) is not None:
        pipe.send("made")
        if case[1] == 0:
            os.abort()
        held = np.ones(4 * 10**7) if case[1] == 2 else None
        while case[1] == 1:
            pass
        time.sleep(1)
        pipe.send(("split", "library", {"outcome": attempt.RIGHT, "said": ""}))
        del held


def test_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = {"kind": "log", "through": "command", "outcome": CRASH, "bytes": 5_000_000, "seconds": 1.25, "case": [0, 1]}
    shown = table([line, line | {"outcome": attempt.RIGHT}])
    assert re.search(r"^log +2 +1 +0 +0 +1 +0 +0 +0$", shown, re.MULTILINE)
    assert "most memory: 5 MB; longest: 1.2 s" in shown
    assert main(["--cases", "2", "--seed", "5", "--workers", "1", "--failures", str(tmp_path / "f.jsonl")]) == 0
    assert re.search(r"^all +2 ", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "f.jsonl").read_text() == ""
