"""The course: its texts, its solutions, its folder; and code that is no answer."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from pathlib import Path

import pytest
from places import DOCS
from solved import solve, solved

import epcore
from epcore.cli import main
from epcore.exercise.sandbox import Limits
from epcore.learn.course import Exercise, chosen, exercises, stages
from epcore.learn.cuda.program import compiler
from epcore.learn.folder import Folder
from epcore.learn.student import Student
from epcore.ops import OPS

every_exercise = pytest.mark.parametrize("exercise", exercises(), ids=lambda each: each.key)
quick = [each for each in exercises() if each.stage not in ("cuda", "numba")]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return solved(tmp_path_factory.mktemp("course"))


@every_exercise
def test_solutions_pass(exercise: Exercise, course: Folder) -> None:
    if exercise.stage == "cuda" and compiler() is None:
        pytest.skip("there is no g++")
    verdict = course.check(exercise)
    assert not verdict.findings
    assert verdict.notes
    assert course.passed(exercise)


@pytest.mark.parametrize("exercise", quick, ids=lambda each: each.key)
def test_what_is_given_does_not_pass(exercise: Exercise, tmp_path: Path) -> None:
    folder = Folder.start(tmp_path)
    for name in stages():
        folder.open_stage(name)
    verdict = folder.check(exercise)
    assert not verdict.passed
    assert all(finding.file == exercise.file for finding in verdict.findings)


def test_texts_are_complete() -> None:
    for stage in stages().values():
        assert stage.title and stage.text and stage.read and stage.unlocks and stage.exercises
        for exercise in stage.exercises:
            assert exercise.read and exercise.write and exercise.hints and exercise.starter, exercise.key
    assert len({exercise.key for exercise in exercises()}) == len(exercises())
    for stage in ("forward", "backward"):
        assert {exercise.name for exercise in stages()[stage].exercises} == set(OPS)


def test_places_to_read_exist() -> None:
    places = [place for stage in stages().values() for place in (*stage.read, *(p for e in stage.exercises for p in e.read))]
    for place in places:
        name, section = re.fullmatch("`([^`]+)`: (.+)", place).groups()  # type: ignore[union-attr]
        if name.startswith("docs/") and not DOCS.is_dir():
            continue
        path = Path(epcore.__file__).parent.parent / name if name.startswith("epcore/") else DOCS.parent / name
        assert path.is_file(), place
        if path.suffix == ".md" and section:
            assert section.partition(" (")[0] in path.read_text(encoding="utf-8"), place


def test_operators_files_do_not_give_the_answer_away() -> None:
    for exercise in stages()["backward"].exercises:
        assert OPS[exercise.name].page.derivation not in exercise.starter
        compile(exercise.starter, exercise.file, "exec")


# ---- code that is no answer

SWISH = "import numpy as np\ndef forward(x):\n    y = x / (1 + np.exp(-x))\n    {}\n    return y, (x,)\n"


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("import sys\nsys.exit()\n", 2, "asked Python to exit"),
        ("import sys\nsys.exit(0)\n", 2, "asked Python to exit"),
        (SWISH.format("import sys; sys.exit(0)"), 4, "asked Python to exit"),
        (SWISH.format("import os; os._exit(0)"), None, "ended the process, with exit code 0"),
        (SWISH.format("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), None, "SIGSEGV"),
        (SWISH.format("y = y[::-1"), 4, "SyntaxError"),
        (SWISH.format("y = undefined"), 4, "NameError"),
        (SWISH.format("print('right: forward/swish'); y = 2 * y"), None, "2 times what it should be"),
        (SWISH.format("x *= 2"), None, "changed x in place"),
        (SWISH.format("return y"), None, "expected two things"),
        (SWISH.format("return y, (y,)"), None, "what is saved is not (x,)"),
        (SWISH.format("np.zeros(1 << 40)"), 4, "more memory"),
        ("from epcore.ops.swish import forward\n", 1, "is epcore's own"),
        ("import epcore\nforward = epcore.ops.swish.forward\n", 1, "is epcore's own"),
        ("import importlib\nforward = importlib.import_module('epcore.ops.swish').forward\n", 2, "is epcore's own"),
        ("", None, "no function forward"),
    ],
)
def test_code_that_is_no_answer(source: str, line: int | None, message: str, tmp_path: Path) -> None:
    folder = Folder.start(tmp_path)
    (exercise,) = chosen("forward/swish")
    (tmp_path / exercise.file).write_text(source)
    verdict = folder.check(exercise)
    assert not verdict.passed
    assert any(message in finding.message and finding.line == line for finding in verdict.findings), verdict.findings
    assert not folder.passed(exercise)


def test_a_hang_is_stopped_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epcore.learn.checks.Student", partial(Student, limits=Limits(seconds=1)))
    folder = Folder.start(tmp_path)
    (exercise,) = chosen("forward/swish")
    (tmp_path / exercise.file).write_text(SWISH.format("while True: pass"))
    start = time.monotonic()
    (finding,) = folder.check(exercise).findings
    assert finding.line == 4
    assert "not done after 1 s and was stopped" in finding.message
    assert time.monotonic() - start < 10


def test_without_a_compiler_the_stage_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epcore.learn.cuda.check.compiler", lambda: None)
    folder = Folder.start(tmp_path)
    folder.open_stage("cuda")
    (finding,) = folder.check(chosen("cuda/swish")[0]).findings
    assert "apt install g++" in finding.message


def test_what_code_prints_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Folder.start(tmp_path)
    (tmp_path / "ops/swish.py").write_text(SWISH.format("print('the shape is', x.shape)"))
    assert main(["learn", "check", "forward/swish", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("your code printed:\n  | the shape is (2, 4, 3, 5)\n")
    assert "right: forward/swish" in said


# ---- the command


def learn(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["learn", *arguments])
    return code, "".join(capsys.readouterr())


def test_from_the_start_to_the_second_exercise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = learn(capsys)
    assert code == 0
    assert "a course was started in epcore-course" in text
    assert "forward/sigmoid (1 of 18 in this stage)" in text
    monkeypatch.chdir(tmp_path / "epcore-course")
    assert learn(capsys, "check")[0] == 1
    assert learn(capsys, "hint")[1].startswith("hint 1 of 2: np.exp")
    assert "hint 1: np.exp" in learn(capsys)[1]
    learn(capsys, "hint")
    assert "no further hint" in learn(capsys, "hint")[1]
    solve(Folder.open(Path()), chosen("forward/sigmoid")[0])
    code, text = learn(capsys, "check")
    assert code == 0
    assert "right: forward/sigmoid" in text and "next: forward/swish" in text
    assert "forward     1 of 18  open" in learn(capsys, "status")[1]
    with Path("ops/sigmoid.py").open("a") as file:
        file.write("\n# more\n")
    assert "changed since they passed: sigmoid" in learn(capsys, "status")[1]


def test_work_is_never_written_over(tmp_path: Path) -> None:
    folder = Folder.start(tmp_path)
    (tmp_path / "ops/swish.py").write_text("mine")
    folder.open_stage("forward")
    folder.open_stage("backward")
    assert (tmp_path / "ops/swish.py").read_text() == "mine"


def test_a_stage_unlocks_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder.start(tmp_path)
    for exercise in stages()["forward"].exercises:
        solve(folder, exercise)
    code, text = learn(capsys, "check", "forward", "--folder", str(tmp_path))
    assert code == 0
    assert "score: 18 of 18" in text and "unlocked: Backward" in text
    assert Folder.open(tmp_path).state.opened == ["forward", "backward"]


def test_what_was_opened_early_holds_nothing_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Folder.start(tmp_path)
    learn(capsys, "open", "tape", "--folder", str(tmp_path))
    for exercise in stages()["forward"].exercises[:-1]:
        solve(folder, exercise)
        folder = Folder.open(tmp_path)
        folder.check(exercise)
    assert folder.unlock() == []
    solve(folder, stages()["forward"].exercises[-1])
    assert "unlocked: Backward" in learn(capsys, "check", "--folder", str(tmp_path))[1]
    assert Folder.open(tmp_path).state.opened == ["forward", "tape", "backward"]
    assert "backward/sigmoid (1 of 18" in learn(capsys, "--folder", str(tmp_path))[1]


def test_score_for_graders(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epcore.learn.course.exercises", lambda: list(stages()["forward"].exercises))
    folder = Folder.start(tmp_path)
    solve(folder, chosen("forward/swish")[0])
    assert main(["learn", "check", "--all", "--json", "-", "--folder", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["score"], report["of"]) == (1, 18)
    assert report["exercises"]["forward/swish"]["passed"]
    (finding,) = report["exercises"]["forward/add"]["findings"]
    assert finding["file"] == "ops/add.py" and finding["line"] and "to be written" in finding["message"]
    assert "score: 1 of 18" in captured.err


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": "epcore course 1"}', '{"format": "epcore course 1", "opened": [1], "passed": {}, "hints": {}}',
     '{"format": "epcore course 1", "opened": [], "passed": {}, "hints": {"a": -1}}',
     '{"format": "epcore course 9", "opened": [], "passed": {}, "hints": {}}'],
)  # fmt: skip
def test_damaged_progress_is_said(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Folder.start(tmp_path)
    (tmp_path / "progress.json").write_text(content)
    for action in ("next", "status", "check", "hint"):
        code, text = learn(capsys, action, "--folder", str(tmp_path))
        assert code == 2
        assert "progress.json is damaged" in text
    assert (tmp_path / "progress.json").read_text() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "tapes"], "no stage or exercise 'tapes'"),
        (["check", "forward/sinh"], "expected one of forward/sigmoid"),
        (["open"], "open needs a stage"),
        (["check", "forward", "--all"], "name no stage"),
        (["status", "--json", "-"], "belong to check"),
    ],
)
def test_errors_of_the_command(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Folder.start(tmp_path)
    code, text = learn(capsys, *arguments, "--folder", str(tmp_path))
    assert code == 2
    assert message in text


def test_no_course(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = learn(capsys, "status", "--folder", str(tmp_path / "none"))
    assert code == 2
    assert "no course was started" in text
    assert not (tmp_path / "none").exists()
