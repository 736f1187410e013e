"""The sandbox: whatever a student's file does, its values come back or a failure says why not, and the next one runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epcore.exercise.sandbox import TOOLS, Answer, Call, Failure, Limits, Run, run_calls
from epcore.exercise.values import Unknown

SHORT = Limits(seconds=0.5)
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux")


def run(tmp_path: Path, source: str, *arguments: Any, count: int = 1, limits: Limits = Limits(), **options: Any) -> Run:  # noqa: B008
    path = tmp_path / "an answer é.py"
    path.write_text(source, encoding="utf-8")
    return run_calls(path, [Call("f", arguments)] * count, limits=limits, **options)


def failure(tmp_path: Path, body: str, **options: Any) -> Failure:
    """Of a function with this body, which starts in line 4."""
    (answer,) = run(tmp_path, f"import sys, os\nimport numpy as np\ndef f():\n    {body}\n", **options).answers
    assert answer.failure is not None and answer.value is None
    return answer.failure


def test_values_arrive(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(2, 3)
    source = "import numpy as np\ndef f(x, t, m): return (x.T, np.float32(2), [None, True, 1, 2.5, 'é'], m, t, {1}, x + 1j)"
    (answer,) = run(tmp_path, source, x, (1, (2, 3)), {"a": [1, ()]}).answers
    value = answer.value
    assert answer.failure is None and isinstance(value, tuple)
    assert value[0].tolist() == x.T.tolist() and value[0].dtype == np.float64
    assert value[1] == 2 and value[1].dtype == np.float32
    assert value[2:5] == ([None, True, 1, 2.5, "é"], {"a": [1, ()]}, (1, (2, 3)))
    assert value[5:] == (Unknown("set"), Unknown("array of complex128"))


def test_keywords_and_functions_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def f(*, a=1): return a\ndef g(): return 7\n")
    answers = run_calls(path, [Call("f", (), {"a": 3}), Call("f"), Call("g"), Call("h")]).answers
    assert [answer.value for answer in answers] == [3, 1, 7, None]
    assert answers[3].failure == Failure("missing", "there is no function h in the file")


def test_arguments_come_back_as_the_call_left_them(tmp_path: Path) -> None:
    x = np.ones(3)
    (answer,) = run(tmp_path, "def f(x):\n    x *= 2\n    return 1 / 0\n", x).answers
    assert x.tolist() == [1, 1, 1] and answer.arguments[0].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("return undefined", "exception", "NameError: name 'undefined' is not defined, line 4: return undefined"),
        ("raise NotImplementedError('write me')", "unwritten", "f is still to be written, line 4"),
        ("sys.exit()", "exit", "asked Python to exit, so that nothing could be checked, line 4: sys.exit()"),
        ("sys.exit(0)", "exit", "line 4"),
        ("raise SystemExit", "exit", "line 4"),
        ("raise KeyboardInterrupt", "exception", "stopped with KeyboardInterrupt, line 4"),
        ("os._exit(0)", "died", "it ended the process, with exit code 0, before it answered"),
        ("os.abort()", "died", "SIGABRT"),
        ("os.kill(os.getpid(), 11)", "died", "SIGSEGV"),
        ("return f()", "exception", "RecursionError"),
        ("return np.linalg.inv(np.zeros((2, 2)))", "exception", "LinAlgError: Singular matrix, line 4: return np.linalg"),
        ("return input()", "exception", "EOFError"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", "exception", "stopped with Odd, line 4"),
    ],
)
def test_failures_are_named(body: str, kind: str, text: str, tmp_path: Path) -> None:
    found = failure(tmp_path, body)
    assert found.kind == kind and text in found.text
    assert found.line == (None if kind == "died" else 4)


@pytest.mark.parametrize(
    "body", ["while True: pass", "import time; time.sleep(100)", "print('x' * 100000)\n    while True: pass"]
)
def test_an_endless_loop_is_stopped_and_its_line_named(body: str, tmp_path: Path) -> None:
    start = time.monotonic()
    found = failure(tmp_path, body, limits=SHORT)
    assert time.monotonic() - start < 5
    line = 5 if "\n" in body else 4
    assert (found.kind, found.line) == ("time", line)
    assert f"it was not done after 0.5 s and was stopped in line {line}: " in found.text


def test_a_loop_that_does_not_want_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that turned off what would stop it from within: the watch on this side does."""
    monkeypatch.setattr("epcore.exercise.sandbox._GRACE", 0.5)
    body = "import faulthandler; faulthandler.cancel_dump_traceback_later()\n    while True: pass"
    assert failure(tmp_path, body, limits=SHORT).text == "it was not done after 0.5 s and was stopped"


@LINUX
def test_memory_is_bounded(tmp_path: Path) -> None:
    found = failure(tmp_path, "return np.ones(1 << 27)", limits=Limits(memory=256 << 20))
    assert found.kind == "memory" and found.line == 4
    assert "it wanted more memory than it may have (Unable to allocate 1.00 GiB" in found.text


def test_one_failure_stops_no_other(tmp_path: Path) -> None:
    source = (
        "calls = []\ndef f():\n    calls.append(1)\n    if len(calls) == 2: raise ValueError('second')\n    return len(calls)\n"
    )
    answers = run(tmp_path, source, count=3).answers
    assert [answer.value for answer in answers] == [1, None, 3]
    assert answers[1].failure is not None and "ValueError: second" in answers[1].failure.text


def test_what_came_before_the_end_is_kept(tmp_path: Path) -> None:
    source = "calls = []\ndef f():\n    calls.append(1)\n    while len(calls) == 2: pass\n    return len(calls)\n"
    answers = run(tmp_path, source, count=3, limits=SHORT).answers
    assert answers[0] == Answer(1)
    assert [answer.failure.kind for answer in answers[1:] if answer.failure] == ["time", "time"]


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("def f(", "exception", "SyntaxError: '(' was never closed, line 1: def f("),
        ("\nx = 1 / 0", "exception", "ZeroDivisionError: division by zero, line 2: x = 1 / 0"),
        ("import nothing_of_that_name", "exception", "ModuleNotFoundError"),
        ("raise SystemExit", "exit", "asked Python to exit"),
        ("while True: pass", "time", "stopped in line 1"),
        ("\0", "exception", "stopped with"),
    ],
)
def test_a_file_that_does_not_run(source: str, kind: str, text: str, tmp_path: Path) -> None:
    found = run(tmp_path, source, count=2, limits=SHORT)
    assert found.failure is not None and found.failure.kind == kind and text in found.failure.text
    assert [answer.failure for answer in found.answers] == [found.failure] * 2


@pytest.mark.parametrize(
    "line",
    [
        "from epcore.ops import swish",
        "from epcore.ops.swish import backward",
        "import epcore.ops.swish",
        "from epcore import Tape",
        "import epcore",
        "import importlib; importlib.import_module('epcore.ops.swish')",
        "import importlib; importlib.__import__('epcore.ops.swish', fromlist=['backward'])",
        "from epcore.kernels.cpu import swish",
    ],
)
def test_epcores_own_operators_cannot_be_imported(line: str, tmp_path: Path) -> None:
    found = failure(tmp_path, line)
    assert found.kind == "exception" and found.line == 4
    assert "is epcore's own; what may be imported of it: epcore.base.arrays, " in found.text


@pytest.mark.parametrize("line", ["from epcore.shapes import same_padding", "import epcore.sums", "from epcore import shapes"])
def test_tools_can(line: str, tmp_path: Path) -> None:
    assert run(tmp_path, f"{line}\ndef f(): return 1").answers == (Answer(1),)


def test_other_tools_may_be_allowed(tmp_path: Path) -> None:
    source = "from epcore.ops import sigmoid\nimport numpy as np\ndef f(): return float(sigmoid.sigmoid(np.zeros(1))[0])"
    assert run(tmp_path, source, tools=[*TOOLS, "epcore.ops.sigmoid"]).answers == (Answer(0.5),)


def test_files_beside_it_are_found(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("two = 2\n")
    assert run(tmp_path, "from helpers import two\ndef f(): return two").answers == (Answer(2),)


def test_what_is_printed_is_kept_and_is_no_answer(tmp_path: Path) -> None:
    source = "import os, sys\nprint('before')\ndef f():\n    print('é')\n    os.write(1, b'raw')\n    sys.stderr.write('!')\n"
    found = run(tmp_path, f"{source}    return 3\n")
    assert found.answers == (Answer(3),)
    assert found.printed == "before\né\nraw!"
    much = run(tmp_path, "def f():\n    for _ in range(100): print('x' * 10000)\n    return 1\n")
    assert much.answers == (Answer(1),) and 1 << 16 <= len(much.printed) < 1 << 17


def test_threads_and_processes_left_behind_keep_nobody_waiting(tmp_path: Path) -> None:
    source = "import threading, subprocess, time\ndef f():\n    threading.Thread(target=time.sleep, args=(60,)).start()\n"
    start = time.monotonic()
    found = run(tmp_path, f"{source}    subprocess.Popen(['sleep', '60'])\n    return 1\n")
    assert found.answers == (Answer(1),) and time.monotonic() - start < 10


def test_a_driver_is_called_in_its_place(tmp_path: Path) -> None:
    source = "class Thing:\n    def value(self): return 5\n"
    (answer,) = run(tmp_path, source, driver="sandbox_drivers:make").answers
    assert answer == Answer(5)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_calls(tmp_path / "none.py", [])


def test_it_is_another_process(tmp_path: Path) -> None:
    (answer,) = run(tmp_path, "import os\ndef f(): return os.getpid()").answers
    assert isinstance(answer.value, int) and answer.value != os.getpid()
