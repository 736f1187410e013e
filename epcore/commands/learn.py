"""`epcore learn`: a course in which you build the network yourself; your code is checked, step by step.

The files in the course's folder are Python (and CUDA) code of your own: they are executed, in a process of their own, with
limits of time and memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from epcore.commands.console import add_json
from epcore.commands.result import Outcome, Result

if TYPE_CHECKING:
    from epcore.learn.course import Exercise
    from epcore.learn.folder import Folder
    from epcore.learn.verdict import Verdict

DEFAULT = "epcore-course"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = {
        "next": "start, or say what comes next",
        "status": "how far you are",
        "hint": "the next hint",
        "check": "check what you wrote",
        "open": "write the files of a stage, whatever has passed before it",
    }
    parser.add_argument(
        "action", nargs="?", default="next", choices=actions, metavar="ACTION",
        help="; ".join(f"{name}: {text}" for name, text in actions.items()) + " (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "stage", nargs="?", metavar="STAGE", help="a stage (tape) or an exercise (forward/swish); default: the next"
    )
    parser.add_argument("--folder", metavar="DIR", help=f"of the course (default: this one if it is one, else {DEFAULT})")
    parser.add_argument("--all", action="store_true", help="with check: every exercise, and the score")
    add_json(parser, "with check: what was found, a mapping for each exercise, and the score")


def run(arguments: argparse.Namespace) -> Outcome:
    from epcore.learn import progress
    from epcore.learn.course import stages
    from epcore.learn.folder import Folder
    from epcore.learn.text import exercise_text, stage_text, status_text

    if arguments.action != "check" and (arguments.all or arguments.json):
        raise ValueError("--all and --json belong to check: epcore learn check --all --json -")
    here = Path(progress.FILE).is_file()
    path = Path(arguments.folder) if arguments.folder is not None else Path() if here else Path(DEFAULT)
    if arguments.action in ("next", "open") and not (path / progress.FILE).exists():
        folder = Folder.start(path)
        began = f"a course was started in {path}\n\n{stage_text(next(iter(stages().values())))}\n\n"
    else:
        folder, began = Folder.open(path), ""
    if arguments.action == "status":
        return Result(status_text(folder))
    if arguments.action == "check":
        return _check(folder, arguments)
    if arguments.action == "open":
        return Result(_open(folder, arguments.stage))
    exercise = _exercise(folder, arguments.stage)
    if exercise is None:
        return Result("all done: `epcore learn check --all` is your score")
    if arguments.action == "hint":
        hint = folder.next_hint(exercise)
        return Result(f"hint {hint[0]} of {len(exercise.hints)}: {hint[1]}" if hint else f"{exercise.key} has no further hint")
    if exercise.stage not in folder.state.opened:
        folder.open_stage(exercise.stage)
    return Result(began + exercise_text(folder, exercise))


def _open(folder: Folder, name: str | None) -> str:
    from epcore.learn.course import stages
    from epcore.learn.text import stage_text

    if name not in stages():
        raise ValueError(f"open needs a stage, one of {', '.join(stages())}" + (f": there is no {name!r}" if name else ""))
    written = folder.open_stage(name)
    return f"{stage_text(stages()[name])}\n\nwritten: {', '.join(written) or 'nothing, all files were there'}"


def _exercise(folder: Folder, name: str | None) -> Exercise | None:
    """The one that is named; of a stage, the first that has not passed; else the next. Raises ValueError for a wrong name."""
    from epcore.learn.course import chosen

    if name is None:
        return folder.current()
    found = chosen(name)
    return next((each for each in found if not folder.passed(each)), found[0])


def _check(folder: Folder, arguments: argparse.Namespace) -> Generator[str, None, Result]:
    from epcore.learn.course import chosen, exercises
    from epcore.learn.text import verdict_text

    if arguments.all and arguments.stage:
        raise ValueError("--all checks everything: name no stage beside it")
    current = folder.current()
    if arguments.all:
        worked = exercises()
    elif arguments.stage:
        worked = chosen(arguments.stage)
    else:
        worked = [current] if current else exercises()
    files = {exercise.file for exercise in worked}  # what passed before in a file that is another one now is checked again
    worked += [each for each in exercises() if each.file in files and each not in worked and folder.changed(each)]
    verdicts: dict[str, Verdict] = {}
    for exercise in worked:
        verdicts[exercise.key] = folder.check(exercise)
        yield verdict_text(exercise, verdicts[exercise.key])
    passed = sum(verdict.passed for verdict in verdicts.values())
    said = [f"score: {passed} of {len(worked)}"] if len(worked) > 1 else []
    if not arguments.all and passed == len(worked):
        said += [f"unlocked: {stage.title} (epcore learn)" for stage in folder.unlock()]
        following = folder.current()
        said += [f"next: {following.key} (epcore learn)"] if following else ["that was the last one"]
    report = {
        "score": passed,
        "of": len(worked),
        "exercises": {key: verdict.to_json() for key, verdict in verdicts.items()},
    }
    return Result("\n".join(said), report, code=0 if passed == len(worked) else 1)
