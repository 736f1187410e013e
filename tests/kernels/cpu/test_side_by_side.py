"""Kernels compiled by several processes: who compiles what, and what happens where that cannot be."""

from __future__ import annotations

import shutil
import sys
import time
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numba import config, int64

import epcore
from epcore.inference import steps
from epcore.inference.cpu_plan import CpuPlan
from epcore.kernels.cpu import side_by_side
from epcore.kernels.cpu.cache import is_kept
from epcore.kernels.cpu.side_by_side import Job, compile_along, compile_side_by_side
from epcore.pose import peaks, resample

NAMES = ("one", "two", "three", "four")
# Each takes a moment, so that the one process cannot have taken all before the other is there.
PLANTED = """
import os, time
from epcore.kernels.cpu.cache import cached
from epcore.kernels.cpu.side_by_side import Job
from numba import int64

def compile_it(name):
    time.sleep({sleep})
    globals()[name].compile(int64(int64))
    with open({log!r}, "a") as file:
        file.write(name + "\\n")

"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module of kernels that nobody has compiled, with two threads; `log` has those that other processes did."""
    folder, name = tmp_path / "source", f"planted_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    text = PLANTED.format(sleep=0.0, log=str(tmp_path / "log"))
    for number, each in enumerate(NAMES):
        text += f"@cached\ndef {each}(x):\n    return x + {number}\n\n"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("epcore.threads._chosen", None)
    monkeypatch.setenv("EPCORE_THREADS", "2")
    yield import_module(name)
    sys.modules.pop(name)


def jobs_of(module: types.ModuleType) -> list[Job]:
    return [Job(getattr(module, name), int64(int64), (module.__name__, "compile_it", name)) for name in NAMES]


def logged(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text().split() if log.exists() else []


def check_all(module: types.ModuleType) -> None:
    assert [getattr(module, name)(int64(10)) for name in NAMES] == [10, 11, 12, 13]
    assert all(is_kept(job.kernel, job.signature) for job in jobs_of(module))


def test_others_take_from_the_front(planted: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is slow, so that the other one gets its share on any machine."""
    compile_of = type(planted.four).compile

    def slowly(kernel: object, signature: object) -> object:
        if kernel is planted.four:
            end = time.monotonic() + 60
            while not logged(tmp_path) and time.monotonic() < end:
                time.sleep(0.01)
        return compile_of(kernel, signature)

    monkeypatch.setattr(type(planted.four), "compile", slowly)
    compile_side_by_side(jobs_of(planted))
    assert logged(tmp_path)[0] == "one"
    assert "four" not in logged(tmp_path)
    check_all(planted)


def test_what_is_kept_is_loaded(planted: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in jobs_of(planted):
        job.kernel.compile(job.signature)
    monkeypatch.setattr(side_by_side, "_start", None)  # which cannot be called
    compile_side_by_side(jobs_of(planted))
    check_all(planted)


@pytest.mark.parametrize("why", ["one thread", "little memory", "nowhere", "no Python", "cannot start", "dies", "unknown"])
def test_where_no_other_process_helps(
    why: str, planted: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(planted)

    def refuse(python: str) -> None:
        raise OSError("no memory")

    match why:
        case "one thread":
            monkeypatch.setenv("EPCORE_THREADS", "1")
            monkeypatch.setattr(side_by_side, "_start", None)
        case "little memory":
            monkeypatch.setattr(side_by_side, "memory_limit", lambda: 2 * side_by_side.PROCESS_BYTES - 1)
            monkeypatch.setattr(side_by_side, "_start", None)
        case "nowhere":
            monkeypatch.setattr(side_by_side, "kept_in", lambda: None)
            monkeypatch.setattr(side_by_side, "_start", None)
        case "no Python":
            monkeypatch.setattr(side_by_side, "interpreter", lambda: None)
            monkeypatch.setattr(side_by_side, "_start", None)
        case "cannot start":
            monkeypatch.setattr(side_by_side, "_start", refuse)
        case "dies":
            monkeypatch.setattr(side_by_side, "interpreter", lambda: shutil.which("false") or "false")
        case "unknown":
            jobs = [job._replace(call=(*job.call[:2], "nothing")) for job in jobs]
    compile_side_by_side(jobs)
    assert logged(tmp_path) == []
    check_all(planted)


def test_an_error_here_ends_the_others(planted: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does."""
    started = []
    start = side_by_side._start

    def note(python: str) -> object:
        started.append(start(python))
        return started[-1]

    class Broken:
        overloads: ClassVar[dict[object, object]] = {}
        _cache = planted.four._cache
        targetctx = planted.four.targetctx

        def compile(self, signature: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "_start", note)
    with pytest.raises(KeyboardInterrupt):
        compile_side_by_side([*jobs_of(planted), Job(Broken(), int64(int64), ("nothing",))])
    assert len(started) == 1
    assert started[0].returncode is not None


def test_along(planted: types.ModuleType) -> None:
    """With what is compiled next, once."""
    jobs = jobs_of(planted)
    compile_along(jobs[1:])
    assert not is_kept(jobs[3].kernel, jobs[3].signature)
    compile_side_by_side(jobs[:1])
    check_all(planted)
    assert side_by_side._along == []


@pytest.mark.parametrize("side", [(40, 30), (30, 40), (300, 200)])
def test_the_jobs_of_a_prediction_are_its_kernels(side: tuple[int, int]) -> None:
    jobs = [peaks.job(), resample.job()]
    compile_side_by_side(jobs)
    known = [set(job.kernel.signatures) for job in jobs]
    epcore.predict(np.zeros((*side, 3), np.uint8), epcore.compile(epcore.EfficientPose("RT"), resolution=64))
    assert [set(job.kernel.signatures) for job in jobs] == known


def test_a_plan_compiles_no_more_than_it_has() -> None:
    plan = epcore.compile(epcore.EfficientPose("RT"), resolution=64)
    assert isinstance(plan, CpuPlan)
    used = {row.kind for row in plan._program.steps}
    assert [bool(address) for address in plan._functions] == [kind in used for kind in steps.kinds()]
    assert not all(plan._functions)
