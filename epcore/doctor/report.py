"""Everything the doctor does, in order: the machine, the optional parts, the checks. The result is what `--json` writes."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import Any

from epcore import __version__
from epcore.base.notices import say
from epcore.doctor.check import CHECKS, NETWORKS
from epcore.doctor.machine import machine, versions
from epcore.doctor.parts import PARTS
from epcore.doctor.supervise import Answer, Pool, Task

OK, WRONG, SKIPPED = "ok", "WRONG", "skipped"
LOADED = "kernels loaded"
# The longest to compile first; then what shows most. The figure is decoded by the plan, so both are one worker's.
ORDER = ("conv2d", "depthwise_conv2d", "batch_norm", "squeeze_excite")
PATIENCE = 4.0  # seconds without news after which people are told what takes so long

Report = dict[str, Any]


def examine(processes: int, limit: float) -> Generator[Report, None, None]:
    """The report, twice: its first part, the machine, as soon as that is known, then the whole of it.

    processes: how many check at a time. limit: seconds that one check may take.
    """
    started = perf_counter()
    report: Report = {"epcore": __version__, "machine": machine(), "versions": versions()}
    with Pool(processes, limit) as pool:
        loaded = pool.ask(("compiled",))
        report["compiled"] = loaded["value"] if loaded["ok"] else None
        yield report
        checks = [] if loaded["ok"] else [_check(("check", "cpu", LOADED), loaded)]
        answers = _run(pool, _jobs() if loaded["ok"] else _parts())
        report["parts"] = [_part(name, answers["part", name]) for name in PARTS]
        gpu = next(part for part in report["parts"] if part["name"] == "GPU")
        if loaded["ok"]:
            checks += [_check(task, answers[task]) for task in _tasks("cpu")]
        if gpu["status"] == "there":
            answers = _run(pool, [[task] for task in _tasks("cuda")])
            checks += [_check(task, answer) for task, answer in answers.items()]
        else:
            checks.append(_row("cuda", "CUDA kernels", SKIPPED, gpu["text"].partition(" (")[0], None))
    report["checks"] = checks
    report["failed"] = [_full_name(row) for row in checks if row["status"] == WRONG]
    report["ok"] = not report["failed"]
    report["seconds"] = round(perf_counter() - started, 1)
    yield report


def _tasks(backend: str) -> list[Task]:
    """In the order of the report: the networks last."""
    return [("check", backend, name) for name in sorted(CHECKS, key=lambda name: name in NETWORKS)]


def _jobs() -> list[list[Task]]:
    plan: list[Task] = [("check", "cpu", name) for name in CHECKS if name in NETWORKS]
    operators = [name for name in CHECKS if name not in NETWORKS]
    operators.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    single: list[list[Task]] = [[("check", "cpu", name)] for name in operators]
    return [plan, *single, *_parts()]


def _parts() -> list[list[Task]]:
    return [[("part", name)] for name in PARTS]


def _run(pool: Pool, jobs: list[list[Task]]) -> dict[Task, Answer]:
    """Answers by task, in the order of the jobs; whoever waits is told on standard error what for."""
    tasks = [task for job in jobs for task in job]
    answers: dict[Task, Answer] = {}
    for news in pool.run(jobs, PATIENCE):
        if news is None:
            say(f"epcore doctor: {len(answers)} of {len(tasks)} done; compiling kernels, once a machine, takes longest")
        else:
            answers[news[0]] = news[1]
    return {task: answers[task] for task in tasks}


def _check(task: Task, answer: Answer) -> dict[str, Any]:
    _, backend, name = task
    return _row(backend, name, OK if answer["ok"] else WRONG, answer["value"], answer["seconds"])


def _row(backend: str, name: str, status: str, message: str, seconds: float | None) -> dict[str, Any]:
    return {"backend": backend, "name": name, "status": status, "message": message, "seconds": seconds}


def _full_name(row: dict[str, Any]) -> str:
    return f"{row['backend']} {row['name']}"


def _part(name: str, answer: Answer) -> dict[str, Any]:
    return answer["value"] if answer["ok"] else {"name": name, "status": "broken", "text": answer["value"]}
