"""`epcore doctor`: faults are planted, in this process and in the processes that check, and each is named."""

from __future__ import annotations

import json
import os
import textwrap
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_on_host.devices import device
from PIL import Image
from places import ROOT, exit_code

import epcore.doctor.examples
import epcore.doctor.machine
import epcore.doctor.parts
import epcore.doctor.report
import epcore.doctor.supervise
from epcore.cli import main
from epcore.data.synthetic import SyntheticFigures
from epcore.doctor import figure
from epcore.doctor.check import CHECKS, FIGURE, PLAN, WrongError, run_check
from epcore.doctor.examples import EXAMPLES
from epcore.doctor.parts import PARTS, look
from epcore.doctor.supervise import Pool, Worker
from epcore.ops import OPS

LIMIT = 300.0  # seconds for a check on a machine that is busy with other tests


def kernel(op: str) -> Any:
    return import_module(f"epcore.kernels.cpu.{op}")


def spoil(
    monkeypatch: pytest.MonkeyPatch, op: str, change: Callable[[np.ndarray, np.ndarray], Any], backward: bool = False
) -> None:
    """change(x, y) alters in place what forward makes of x, or the first gradient that backward makes of dy."""
    name = "backward" if backward else "forward"
    right = getattr(kernel(op), name)

    def spoilt(first: np.ndarray, *others: Any, **attributes: Any) -> Any:
        y, *rest = right(first, *others, **attributes)
        y = np.array(y)
        change(first, y)
        return y, *rest

    monkeypatch.setattr(kernel(op), name, spoilt)


# ---- the checks themselves


@pytest.mark.parametrize("op", OPS)
def test_operators_are_right(op: str) -> None:
    assert "of its bound" in run_check("cpu", op)


def test_every_check_is_an_operator_or_a_network() -> None:
    assert set(CHECKS) == {*OPS, PLAN, FIGURE}
    assert EXAMPLES.keys() == OPS.keys()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("op", OPS)
def test_small_faults_of_every_operator(op: str, backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a 12-bit reciprocal would do, to y and to the first gradient."""

    def coarse(x: np.ndarray, y: np.ndarray) -> None:
        y *= np.float32(1 + 2.0**-11)

    spoil(monkeypatch, op, coarse, backward)
    name = f"d{OPS[op].array_names(1)[0]}" if backward else "y"
    with pytest.raises(WrongError, match=rf"^{name.replace('[', '.').replace(']', '.')} of .* is \S+ away from the reference"):
        run_check("cpu", op)


def nan_at_infinity(x: np.ndarray, y: np.ndarray) -> None:
    y[x < -88.7] = np.nan


def hidden(x: np.ndarray, y: np.ndarray) -> None:
    np.nan_to_num(y, copy=False, nan=0.0)


def clipped(x: np.ndarray, y: np.ndarray) -> None:
    np.copyto(y, x / np.float32(6e37), where=x < -87)


@pytest.mark.parametrize(
    ("op", "change", "expected"),
    [
        ("swish", nan_at_infinity, r"^y at x = -88\.8 is nan, expected -2\S+e-37"),
        ("sigmoid", nan_at_infinity, r"^y at x = -88\.8 is nan"),
        ("swish", hidden, "^y at x = nan is 0, expected nan"),
        ("eswish", clipped, r"^y at x = -2\.5e\+38 is -4"),
        ("relu", lambda x, y: y.ravel()[-3:].fill(np.nan), "^y of .*: 3 of 144855 values are NaN or infinite"),
        ("relu", lambda x, y: y.ravel()[-1:].fill(9), "^y of 3x37x29x45 is .* away"),
    ],
)
def test_planted(op: str, change: Any, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, op, change)
    with pytest.raises(WrongError, match=expected):
        run_check("cpu", op)


def test_other_shapes_types_and_missing_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernel("add").forward
    monkeypatch.setattr(kernel("add"), "forward", lambda a, b: (right(a, b)[0].astype(np.float64), right(a, b)[1]))
    with pytest.raises(WrongError, match=r"y of .* is float64"):
        run_check("cpu", "add")
    monkeypatch.setattr(kernel("relu"), "backward", lambda dy, saved, **attributes: (None,))
    with pytest.raises(WrongError, match="dx: there is none, unlike the reference's"):
        run_check("cpu", "relu")


@pytest.mark.parametrize("value", [np.nan, 2e-5])
def test_plans_that_are_wrong(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    import epcore.inference.cpu_plan

    right = epcore.inference.cpu_plan.CpuPlan.__call__

    def spoilt(self: Any, x: np.ndarray) -> Any:
        outputs = right(self, x)
        return type(outputs)(outputs.pafs + np.float32(value), outputs.confs, outputs.upscaled, outputs.passes)

    monkeypatch.setattr(epcore.inference.cpu_plan.CpuPlan, "__call__", spoilt)
    with pytest.raises(WrongError, match=r"^pafs"):
        run_check("cpu", PLAN)


def test_figures_that_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_check("cpu", FIGURE).startswith("16 of 16")
    moved = np.array(figure.KEYPOINTS)
    moved[3] += 40
    monkeypatch.setattr("epcore.doctor.check.KEYPOINTS", moved)
    with pytest.raises(WrongError, match="15 of 16 keypoints"):
        run_check("cpu", FIGURE)


def test_the_figure_is_what_it_says() -> None:
    record = SyntheticFigures(8, seed=2020, split="test", size=128).record(7)
    with Image.open(figure.PICTURE) as picture:
        # The painter's vectors may round a grey level the other way on another processor.
        assert np.abs(np.asarray(picture).astype(int) - record.pixels().astype(int)).max() <= 1
    np.testing.assert_allclose(figure.KEYPOINTS, record.keypoints, atol=0.006)
    np.testing.assert_allclose(figure.HEAD_BOX, record.head_box, atol=0.006)


@pytest.mark.parametrize("op", ["swish", "sigmoid", "batch_norm", "depthwise_conv2d", "concat"])
def test_cuda_by_the_same_checks(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CUDA kernels, emulated, with fewer pixels."""
    monkeypatch.setattr(epcore.doctor.examples, "H", 5)
    monkeypatch.setattr(epcore.doctor.examples, "W", 6)
    with device("forward"):
        assert "of its bound" in run_check("cuda", op)
        cuda = import_module(f"epcore.kernels.cuda.{op}")
        right = cuda.forward
        monkeypatch.setattr(cuda, "forward", lambda *xs, **how: (right(*xs, **how)[0] * np.float32(1.01), right(*xs, **how)[1]))
        with pytest.raises(WrongError, match=r"^y"):
            run_check("cuda", op)


# ---- in processes of their own

PLANTED = """
    import sys
    if sys.argv[:1] == ["-c"]:
        import os, signal, time
        import numpy as np
        from epcore.kernels.cpu import add, eswish, multiply, relu, swish

        def wrong(x):
            return x * np.float32(0.5), (x,)

        def refuse(a, b):
            raise RuntimeError("not today\\nnor tomorrow")

        def crash(*arrays):
            print("last words", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV) if os.name == "posix" else os._exit(3)

        def hang(x):
            time.sleep(100)
            return x, (x,)

        swish.forward, add.forward, multiply.forward, eswish.forward = wrong, refuse, crash, hang
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults in every process that checks: Python imports sitecustomize when it starts."""
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(PLANTED))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))


def examine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checks: tuple[str, ...], code: int, *options: str
) -> dict[str, Any]:
    """The doctor's JSON, with these checks only and one optional part beside the GPU."""
    monkeypatch.setattr(epcore.doctor.report, "CHECKS", checks)
    monkeypatch.setattr(epcore.doctor.report, "PARTS", {name: PARTS[name] for name in ("GPU", "tqdm")})
    assert main(["doctor", "--json", str(tmp_path / "report.json"), "--time-limit", str(LIMIT), *options]) == code
    return json.loads((tmp_path / "report.json").read_text())


def no_constants(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_wrong_raising_and_dying_checks_are_named(
    processes: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = ("swish", "add", "multiply", "relu", "concat")
    report = examine(monkeypatch, tmp_path, checks, 1, "--processes", processes)
    captured = capsys.readouterr()
    assert report["failed"] == ["cpu swish", "cpu add", "cpu multiply"]
    assert report["ok"] is False
    rows = {row["name"]: row for row in report["checks"]}
    assert {name: row["status"] for name, row in rows.items() if row["backend"] == "cpu"} == {
        "swish": "WRONG", "add": "WRONG", "multiply": "WRONG", "relu": "ok", "concat": "ok",
    }  # fmt: skip
    assert "y of 3x37x29x45 is" in rows["swish"]["message"]
    assert rows["add"]["message"] == "RuntimeError: not today nor tomorrow"
    ended = "was ended by SIGSEGV" if os.name == "posix" else "ended with exit code 3"
    assert rows["multiply"]["message"] == f"the process {ended}: last words"
    for name in ("swish", "add", "multiply"):
        assert f"epcore doctor: cpu {name} is WRONG: {rows[name]['message']}\n" in captured.err
        assert f"  {name:<23}WRONG   " in captured.out
    assert "3 of 5 checks WRONG: cpu swish, cpu add, cpu multiply" in captured.out
    assert "Traceback" not in captured.out + captured.err


@pytest.mark.usefixtures("planted")
def test_hanging_checks_are_ended() -> None:
    """And the next one runs in a new process."""
    worker = Worker()
    try:
        assert worker.ask(("check", "cpu", "concat"), LIMIT)["ok"]
        answer = worker.ask(("check", "cpu", "eswish"), 3)
        assert answer["value"] == "no answer (limit 3 s): it hangs, or needs more time"
        assert not answer["ok"]
        assert worker.ask(("check", "cpu", "concat"), LIMIT)["ok"]
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [("time.sleep(100)", True), ("while True: pass", True), ("time.sleep(100)", False)],
    ids=["waits", "spins", "unknown"],
)
def test_limits(code: str, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for ever, one that computes for ever, and a system that does not tell which."""
    if not told:
        monkeypatch.setattr(epcore.doctor.supervise, "processor_seconds", lambda pid: None)
    monkeypatch.setattr(epcore.doctor.supervise, "START", f"import time\n{code}")
    worker = Worker()
    started = time.monotonic()
    try:
        assert worker.ask(("check", "cpu", "concat"), 2)["value"].startswith("no answer (limit 2 s)")
    finally:
        worker.close()
    assert time.monotonic() - started >= 1.5


def test_starved_workers_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of processor time in ten: the limit is of processor time, not of the clock's."""
    spent = iter(np.arange(0, 100, 0.05))
    monkeypatch.setattr(epcore.doctor.supervise, "processor_seconds", lambda pid: float(next(spent)))
    monkeypatch.setattr(epcore.doctor.supervise, "START", "import time; input(); time.sleep(4); print('{\"ok\": true}')")
    worker = Worker()
    try:
        assert worker.ask(("check", "cpu", "concat"), 1) == {"ok": True}
    finally:
        worker.close()


def test_kernels_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "nonsense")
    report = examine(monkeypatch, tmp_path, CHECKS, 1)
    assert report["failed"] == ["cpu kernels loaded"]
    assert report["compiled"] is None
    assert "nonsense" in report["checks"][0]["message"]
    assert "1 of 1 checks WRONG: cpu kernels loaded" in capsys.readouterr().out


def test_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command on this machine: what it prints and the JSON it writes."""
    assert main(["doctor", "--json", str(tmp_path / "r.json"), "--time-limit", str(LIMIT)]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 100 or " " not in line.strip() for line in text.splitlines())
    report = json.loads((tmp_path / "r.json").read_text(), parse_constant=no_constants)
    assert report.keys() == {"epcore", "machine", "versions", "compiled", "parts", "checks", "failed", "ok", "seconds"}
    assert report["machine"].keys() == {
        "system", "processor", "cores", "usable_cores", "threads", "threads_because", "settings",
    }  # fmt: skip
    compiled = report["compiled"]
    assert compiled.keys() == {"triple", "cpu", "features", "paths", "threading_layer", "blas", "cache", "caches"}
    assert all(path.keys() == {"name", "value", "meaning"} for path in compiled["paths"])
    assert compiled["threading_layer"]["name"] in ("tbb", "omp", "workqueue")
    assert Path(compiled["cache"]["folder"]).is_absolute()
    assert compiled["blas"][0]["name"]
    assert {part["name"] for part in report["parts"]} == set(PARTS)
    assert {part["status"] for part in report["parts"]} <= {"there", "missing", "broken"}
    assert report["versions"]["numpy"] == np.__version__
    assert [row["name"] for row in report["checks"] if row["backend"] == "cpu"] == [*OPS, PLAN, FIGURE]
    for row in report["checks"]:
        assert row.keys() == {"backend", "name", "status", "message", "seconds"}
        assert row["status"] == ("ok" if row["backend"] == "cpu" or row["name"] in CHECKS else "skipped")
        assert row["message"][:40] in text
    assert report["ok"] is True
    assert f"All {sum(row['status'] == 'ok' for row in report['checks'])} checks are right" in text


def test_json_on_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(epcore.doctor.report, "CHECKS", ("concat",))
    monkeypatch.setattr(epcore.doctor.report, "PARTS", {"GPU": PARTS["GPU"]})
    assert main(["doctor", "--json", "-", "--time-limit", str(LIMIT)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"] is True
    assert "checks are right" in captured.err


@pytest.mark.parametrize("options", [("--processes", "0"), ("--time-limit", "0"), ("--json", "nowhere/at/all.json")])
def test_refusals(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["doctor", *options]) == 2
    assert capsys.readouterr().err.startswith(("epcore: error: ", "epcore doctor: error: argument --"))


def test_interrupted_doctors_leave_no_processes() -> None:
    pool = Pool(2, LIMIT)
    with pool:
        assert pool.ask(("check", "cpu", "concat"))["ok"]
        process = pool._workers[0]._process
        assert process is not None
        assert process.poll() is None
    assert process.poll() is not None


# ---- facts


def test_threads_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    because = epcore.doctor.machine.threads_because
    monkeypatch.setenv("EPCORE_THREADS", "3")
    assert because(8) == "set by EPCORE_THREADS"
    monkeypatch.delenv("EPCORE_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(epcore.doctor.machine, "get_threads", lambda: 2)
    assert because(4) == "4 cores, less by the container's limits"
    assert because(2) == "this process may use 2 of 8 cores"
    monkeypatch.setattr(epcore.doctor.machine, "get_threads", lambda: 8)
    assert because(8) == "one for each core"


def test_parts_that_are_missing_or_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "planted_part.py").write_text("raise RuntimeError('built for another Python')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PARTS, "onnx", ("planted_part", "tests"))
    assert look("onnx") == {"name": "onnx", "status": "broken", "text": "cannot be imported: built for another Python"}
    monkeypatch.setitem(PARTS, "onnx", ("no_such_part", "tests"))
    assert look("onnx") == {"name": "onnx", "status": "missing", "text": "not installed (tests)"}
    monkeypatch.setitem(PARTS, "onnx", ("numpy", "tests"))
    assert look("onnx") == {"name": "onnx", "status": "there", "text": np.__version__}


def test_the_page_shows_what_is_printed() -> None:
    """The lines of docs/doctor.md have the names, and the checks the numbers of results, that the command prints."""
    page = ROOT / "docs" / "doctor.md"
    if not page.is_file():
        pytest.skip("the documentation is not beside the tests")
    shown = page.read_text().partition("Checks: ")[2].partition("```")[0].splitlines()[1:]
    lines = {line[2:25].strip(): line[25:] for line in shown if line.startswith("  ") and line[2] != " "}
    assert list(lines) == [*OPS, PLAN, FIGURE, "CUDA kernels"]
    for op in OPS:
        assert run_check("cpu", op).partition(",")[0] == lines[op].removeprefix("ok").strip().partition(",")[0]
