"""The commands train, evaluate and plot, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mpii_helpers import picture, point, rectangle, write
from PIL import Image
from train_helpers import tiny

from epcore.cli import main
from epcore.evaluate.contact_sheet import worst_cases

SMALL = ["--pictures=8", "--batch-size=4", "--resolution=32", "--variety=easy", "--workers=0", "--log-every=1"]
VALIDATION = ["--validation-pictures", "3", "--seed", "3"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "--output", str(folder), *SMALL, *VALIDATION, "--epochs", "2"]) == 0
    return folder


def _error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("epcore: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_train_leaves_a_run(run_folder: Path) -> None:
    assert sorted(path.name for path in run_folder.iterdir()) == [
        "best.npz", "checkpoint.npz", "config.toml", "log.jsonl", "previous.npz", "weights.h5",
    ]  # fmt: skip
    events = [json.loads(line)["event"] for line in (run_folder / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "step", "step", "validation", "step", "step", "validation", "end"]


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(tiny(epochs=1).to_toml())
    folder = tmp_path / "run"
    assert (
        main(["train", "--config", str(tmp_path / "a.toml"), "--rate", "1e-5", "--no-drop-connect", "--output", str(folder)])
        == 0
    )
    text = (folder / "config.toml").read_text()
    assert "rate = 1e-05" in text
    assert "drop_connect = false" in text
    assert "epochs = 1" in text


def test_errors_are_one_line(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    run = str(run_folder)
    assert "--output is missing" in _error(capsys, "train", *SMALL)
    assert "no run to resume" in _error(capsys, "train", "--resume", "--output", str(tmp_path / "none"))
    assert "already has a run" in _error(capsys, "train", *SMALL, "--output", run)
    assert "cannot resume: rate is 0.5" in _error(capsys, "train", "--resume", "--output", run, "--rate", "0.5")
    assert "resolution is 50" in _error(capsys, "train", "--resolution", "50", "--output", str(tmp_path / "x"))
    assert "nowhere.toml" in _error(capsys, "train", "--config", "nowhere.toml", "--output", str(tmp_path / "x"))
    assert "no folder" in _error(capsys, "train", "--data", "mpii", "--folder", "nowhere", "--output", str(tmp_path / "x"))
    assert "no file nowhere" in _error(capsys, "train", "--init", "nowhere.h5", "--output", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


def test_ctrl_c_saves_and_resume_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "epcore", "train", "--output", str(folder)]
    process = subprocess.Popen(
        [*command, *SMALL, "--epochs", "4000", "--validate-every", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "log.jsonl"
    deadline = time.monotonic() + 120
    while (not log.exists() or log.read_text().count("\n") < 4) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped after step" in out
    assert "Traceback" not in err
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["event"] == "interrupted"
    assert (folder / "checkpoint.npz").exists()
    assert f"step {last['step']} and saved" in out


def test_range_test_as_json(tmp_path: Path) -> None:
    target = tmp_path / "range.json"
    arguments = ["train", "--range-test", *SMALL, "--range", "1e-6", "1e-4", "--range-steps", "10", "--json", str(target)]
    assert main(arguments) == 0
    values = json.loads(target.read_text())
    assert len(values["rates"]) == len(values["losses"]) == 10
    np.testing.assert_allclose(values["rates"], np.geomspace(1e-6, 1e-4, 10))
    assert values["lambda_max"] in [rate / 2 for rate in values["rates"]]


def test_plot(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["plot", str(run_folder), "--output", str(tmp_path / "curves.png")]) == 0
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50  # not blank
    assert main(["plot", str(run_folder), str(run_folder), "--output", str(tmp_path / "two.svg")]) == 0
    assert "no log" in _error(capsys, "plot", str(tmp_path))
    assert "ending in .png" in _error(capsys, "plot", str(run_folder), "--output", "curves.txt")


def test_evaluate_a_run(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, sheet = tmp_path / "report.json", tmp_path / "worst.png"
    arguments = ["evaluate", "--run", str(run_folder), "--pictures", "4", "--size", "64", "--multi-scale", "--worst", "3"]
    assert main([*arguments, "--json", str(report), "--contact-sheet", str(sheet)]) == 0
    table = capsys.readouterr().out
    values = json.loads(report.read_text())
    assert [result["name"] for result in values["results"]] == [
        "PCKh@50 (official)", "PCKh@10 (official)", "PCKh@50 (widespread)", "PCKh@10 (widespread, computed at 0.11)",
    ]  # fmt: skip
    for result in values["results"]:
        assert result["name"] in table
        assert set(result["groups"]) == {"head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"}
    assert (values["resolution"], values["scales"], values["flip"]) == (32, [0.75, 1.0, 1.25], True)
    assert len(values["persons"]) == 4
    with Image.open(sheet) as picture:
        assert picture.size == (3 * 2 * 224, 240)


def test_evaluate_by_weights_agrees_with_the_run(run_folder: Path, tmp_path: Path) -> None:
    reports = []
    for how in (["--run", str(run_folder)], ["--weights", str(run_folder / "weights.h5"), "--resolution", "32"]):
        report = tmp_path / "report.json"
        assert main(["evaluate", *how, "--pictures", "3", "--size", "32", "--json", str(report)]) == 0
        reports.append(json.loads(report.read_text())["persons"])
    assert reports[0] == reports[1]


def test_evaluate_errors(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(run_folder)
    assert "give one" in _error(capsys, "evaluate", "--run", run, "--weights", "x.h5")
    assert "no file" in _error(capsys, "evaluate", "--run", str(tmp_path / "none"))
    assert "--folder is missing" in _error(capsys, "evaluate", "--run", run, "--data", "mpii")
    assert "split is 'best'" in _error(capsys, "evaluate", "--run", run, "--split", "best")
    (tmp_path / "text.npz").write_text("x")
    assert "damaged" in _error(capsys, "evaluate", "--run", str(tmp_path / "text.npz"))
    assert not os.path.exists("report.json")


def test_mpii_from_annotations_to_pckh(tmp_path: Path) -> None:
    """A folder as MPII's: trained on, resumed from, evaluated; who has no head box is trained on but not evaluated."""

    data = tmp_path / "mpii"
    (data / "images").mkdir(parents=True)
    body = [point(60 + 5 * (number % 4), 30 + 8 * number, number) for number in range(16)]
    pictures = [picture(f"{index}.jpg", rectangle(*body, x=80, y=90, scale=0.8)) for index in range(12)]
    pictures += [
        picture("headless.jpg", {**rectangle(*body, x=80, y=90), **dict.fromkeys(("x1", "y1", "x2", "y2"), np.empty((0, 0)))})
    ]
    write(data, pictures, [1] * 13)
    rng = np.random.default_rng(0)
    for index in (*range(12), "headless"):
        Image.fromarray(rng.integers(0, 256, (180, 160, 3), np.uint8)).save(data / f"images/{index}.jpg")
    names = [f"{index}.jpg" for index in range(12)]
    (tmp_path / "train.txt").write_text("\n".join([*names[:8], "headless.jpg"]))
    (tmp_path / "validation.txt").write_text("\n".join(names[8:]))
    splits = ["--train-split", str(tmp_path / "train.txt"), "--validation-split", str(tmp_path / "validation.txt")]
    mpii = ["--data", "mpii", "--folder", str(data)]
    small = ["--resolution=32", "--batch-size=4", "--workers=0", "--epochs=1", "--log-every=1", "--sigma-start=1"]
    assert main(["train", *mpii, *splits, *small, "--output", str(tmp_path / "run")]) == 0
    events = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2]  # 9 persons: two whole batches
    assert next(event for event in events if event["event"] == "validation")["pictures"] == 4
    report = tmp_path / "report.json"
    every = ["--split-file", str(tmp_path / "train.txt"), "--pictures", "0", "--json", str(report)]
    assert main(["evaluate", "--run", str(tmp_path / "run"), *mpii, *every]) == 0
    persons = json.loads(report.read_text())["persons"]
    assert [person["name"].partition("#")[0] for person in persons] == names[:8]
    keypoints = np.array([person["keypoints"] for person in persons])
    crop = 80 - 125 * 0.8, 90 + 15 * 0.8 - 125 * 0.8  # the square's corner, in pixels of the original picture
    assert (keypoints >= crop).all() and (keypoints <= np.add(crop, 250 * 0.8)).all()
    assert keypoints.max() > 32  # not in pixels of the input


def test_worst_cases_come_first() -> None:
    distances = np.full((4, 16), 0.1)
    distances[1] = 0.9  # all wrong
    distances[2, 3] = np.inf  # one keypoint lost
    distances[3] = np.nan  # nothing annotated
    assert worst_cases(distances, 10) == [1, 2, 0]
    assert worst_cases(distances, 1) == [1]
