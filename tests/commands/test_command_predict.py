"""`epcore predict`: forms of output, what it refuses, and that nothing half done is left behind."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from epcore.cli import main
from epcore.commands.overlay_names import overlay_names
from epcore.pose.skeleton import KEYPOINTS


class CornerModel:
    """All keypoints at the same place of a 32x32 input, so that the command can be tested without weights."""

    name, resolution, preprocessing, source = "corners", 32, "imagenet", None

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        maps = np.zeros((1, 32, 32, len(KEYPOINTS)), np.float32)
        maps[0, 15, 7] = 0.5
        maps[0, 15, 7, 0] = 0.1  # the head is doubtful
        return SimpleNamespace(final=maps)


@pytest.fixture
def corner_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epcore.commands.predict.load_model", lambda arguments: CornerModel())
    monkeypatch.setattr("epcore.inference.engine.engine", lambda model, **options: model)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, which is the current one, with a.png (64x64) and sub/a.jpg (80x40)."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), (200, 30, 30)).save("a.png")
    Path("sub").mkdir()
    Image.new("RGB", (80, 40), (30, 200, 30)).save("sub/a.jpg")
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error of a command that must fail; and it must leave every file as it was."""
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}
    assert main(["predict", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("epcore: error: ")
    assert captured.err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()} == before
    return captured.err


@pytest.mark.usefixtures("corner_model", "pictures")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.png", "sub/a.jpg", "--json", "-", "--min-score", "0"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no progress bar where nobody watches
    first, second = json.loads(captured.out)
    assert list(first) == ["image", "width", "height", "score", "keypoints"]
    assert (first["image"], first["width"], first["height"]) == ("a.png", 64, 64)
    assert (second["image"], second["width"], second["height"]) == ("sub/a.jpg", 80, 40)
    assert [point["name"] for point in first["keypoints"]] == list(KEYPOINTS)
    thorax = first["keypoints"][5]
    assert list(thorax) == ["name", "x", "y", "score"]
    assert (thorax["x"], thorax["y"]) == (7.5 * 2, 15.5 * 2)
    assert second["keypoints"][5]["x"] == 7.5 * 2.5  # and y: (15.5 - 8) * 2.5
    assert second["keypoints"][5]["y"] == 7.5 * 2.5


@pytest.mark.usefixtures("corner_model", "pictures")
def test_missing_keypoints_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.png", "--real-time", "--json", "-"]) == 0
    head, neck = json.loads(capsys.readouterr().out)[0]["keypoints"][:2]
    assert (head["x"], head["y"], head["score"]) == (None, None, 0.1)
    assert neck["x"] == 15.0
    assert main(["predict", "a.png", "--real-time", "--csv", "-"]) == 0
    head, neck = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))[:2]
    assert (head["image"], head["keypoint"], head["x"], head["y"], head["score"]) == ("a.png", "head_top", "", "", "0.1")
    assert (neck["x"], neck["y"], neck["width"]) == ("15.0", "31.0", "64")
    assert main(["predict", "a.png", "--real-time"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "a.png  64 x 64"
    assert table[2].split() == ["head_top", "missing", "0.10"]
    assert table[3].split() == ["upper_neck", "15.0", "31.0", "0.50"]
    assert len(table) == 2 + len(KEYPOINTS)


def test_files_are_written_and_overlays_never_collide(corner_model: None, pictures: Path) -> None:
    arguments = ["predict", "a.png", "sub/a.jpg", "--json", "out.json", "--csv", "out.csv", "--overlay", "new/drawn"]
    for _ in range(2):  # a second run replaces the files of the first
        assert main(arguments) == 0
        created = files(pictures) - {"a.png", "sub", "sub/a.jpg"}
        assert created == {"out.json", "out.csv", "new", "new/drawn", "new/drawn/a_pose.jpg", "new/drawn/a_pose_2.jpg"}
    with Image.open("new/drawn/a_pose_2.jpg") as drawn:
        assert drawn.size == (80, 40)
    assert len(json.loads(Path("out.json").read_text())) == 2
    assert len(Path("out.csv").read_text().splitlines()) == 1 + 2 * len(KEYPOINTS)


def test_overlays_spare_the_inputs(corner_model: None, pictures: Path) -> None:
    os.rename("a.png", "a_pose.png")
    Image.new("RGB", (20, 20)).save("a.png")
    Image.new("RGB", (20, 20)).save("a_pose.jpg")
    before = Path("a_pose.jpg").read_bytes()
    assert main(["predict", "a.png", "a_pose.jpg", "--overlay", "."]) == 0
    assert Path("a_pose.jpg").read_bytes() == before
    assert files(pictures) == {"a.png", "a_pose.png", "a_pose.jpg", "a_pose_2.jpg", "a_pose_pose.jpg", "sub", "sub/a.jpg"}


def test_overlay_names() -> None:
    assert overlay_names(["x/p.jpg", "y/P.png", "x/p.jpg", "q.gif"], "out") == ["p_pose", "P_pose_2", "p_pose_3", "q_pose"]


@pytest.mark.usefixtures("corner_model", "pictures")
def test_strict_names_the_first_bad_picture_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("no picture")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save("cut.jpg")
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:2000])
    outputs = ["--strict", "--json", "out.json", "--csv", "out.csv", "--overlay", "drawn"]
    assert "empty.jpg is empty" in refused(["a.png", "empty.jpg", *outputs], capsys)
    assert "text.jpg is not a picture" in refused(["a.png", "text.jpg", *outputs], capsys)
    assert "cut.jpg is damaged" in refused(["a.png", "cut.jpg", *outputs], capsys)  # found after a.png was drawn
    assert "there is no picture missing.jpg" in refused(["a.png", "missing.jpg", *outputs], capsys)
    Path("none").mkdir()
    assert "none is a folder without pictures" in refused(["a.png", "none", *outputs], capsys)
    assert not Path("drawn").exists()


@pytest.mark.usefixtures("corner_model", "pictures")
class TestBadOnesDoNotLoseTheRest:
    @pytest.fixture(autouse=True)
    def bad(self, pictures: Path) -> None:
        Path("empty.jpg").touch()
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save("cut.jpg")
        Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:2000])

    def test_the_good_ones_are_done(self, capsys: pytest.CaptureFixture[str]) -> None:
        outputs = ["--json", "out.json", "--csv", "out.csv", "--overlay", "drawn"]
        assert main(["predict", "empty.jpg", "a.png", "cut.jpg", "missing.jpg", "sub/a.jpg", *outputs]) == 1
        said = capsys.readouterr().err.splitlines()
        assert [line.partition(" is ")[0] for line in said[:1]] == ["epcore: left out: empty.jpg"]
        assert said[1] == "epcore: left out: there is no picture missing.jpg"  # headers first
        assert said[2].startswith("epcore: left out: cut.jpg is damaged")
        assert said[3] == "epcore: 3 of 5 pictures left out"
        assert [row["image"] for row in json.loads(Path("out.json").read_text())] == ["a.png", "sub/a.jpg"]
        assert len(Path("out.csv").read_text().splitlines()) == 1 + 2 * len(KEYPOINTS)
        assert {path.name for path in Path("drawn").iterdir()} == {"a_pose.jpg", "a_pose_2.jpg"}

    def test_none_is_good(self, capsys: pytest.CaptureFixture[str]) -> None:
        for images in (["empty.jpg", "missing.jpg"], ["empty.jpg", "cut.jpg"]):
            assert main(["predict", *images, "--json", "out.json", "--overlay", "drawn"]) == 2
            assert capsys.readouterr().err.splitlines()[-1] == "epcore: error: none of the 2 pictures can be read"
            assert not Path("out.json").exists() and not Path("drawn").exists()
        assert "cut.jpg is damaged" in refused(["cut.jpg"], capsys)  # one alone is the error itself

    def test_folders(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Their pictures in the order of their names; what is hidden or no picture is left alone."""
        for name in ("notes.txt", ".hidden.png", "._a.png"):
            Path(name).write_text("x")
        Path("below.png").mkdir()
        assert main(["predict", ".", "sub", "--json", "out.json"]) == 1
        assert [row["image"] for row in json.loads(Path("out.json").read_text())] == ["./a.png", "sub/a.jpg"]
        assert capsys.readouterr().err.count("left out: ") == 2
        assert "--json sub/a.jpg would overwrite an input" in refused(["sub", "--json", "sub/a.jpg"], capsys)

    def test_too_many_pixels(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", "a.png", "sub/a.jpg", "--max-pixels", "3200", "--json", "out.json"]) == 1
        assert "a.png is too large: more than 3,200 pixels (--max-pixels" in capsys.readouterr().err
        assert [row["image"] for row in json.loads(Path("out.json").read_text())] == ["sub/a.jpg"]


@pytest.mark.usefixtures("corner_model", "pictures")
def test_odd_names(capfd: pytest.CaptureFixture[str]) -> None:
    """A line's end, bytes that are no UTF-8, a leading dash, the longest there is: in every form of output."""
    odd = ["new\nline.png", os.fsdecode(b"\xff.png"), "-dash.png", "x" * 251 + ".png"]
    for name in odd:
        Image.new("RGB", (20, 20)).save(Path(name))
    assert main(["predict", "--json", "out.json", "--csv", "out.csv", "--overlay", "drawn", "--", *odd]) == 0
    assert [row["image"] for row in json.loads(Path("out.json").read_text())] == odd
    assert b"\xff.png" in Path("out.csv").read_bytes()
    assert len(list(Path("drawn").iterdir())) == 4
    assert main(["predict", "--", *odd]) == 0
    capfd.readouterr()
    Path(os.fsdecode(b"bad\xff\n.png")).touch()
    assert main(["predict", "a.png", os.fsdecode(b"bad\xff\n.png")]) == 1
    assert "left out: bad\\udcff .png is empty" in capfd.readouterr().err


@pytest.mark.usefixtures("corner_model", "pictures")
def test_bad_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--json", "--csv"):
        assert "there is no folder" in refused(["a.png", option, "nowhere/out"], capsys)
        assert "sub: it is a folder" in refused(["a.png", option, "sub"], capsys)
        assert f"{option} ./a.png would overwrite an input" in refused(["a.png", option, "./a.png"], capsys)
    assert "both write to -" in refused(["a.png", "--json", "-", "--csv", "-"], capsys)
    assert "both write to out" in refused(["a.png", "--json", "out", "--csv", "out"], capsys)
    assert "expected a folder" in refused(["a.png", "--overlay", "sub/a.jpg"], capsys)
    assert "cannot write overlays to a.png/below" in refused(["a.png", "--overlay", "a.png/below"], capsys)


@pytest.mark.usefixtures("corner_model", "pictures")
def test_folder_without_write_permission(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's answer is made up, because an administrator may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode == os.W_OK and str(path).endswith("sub")))
    assert "cannot write sub/out.json: permission denied" in refused(["a.png", "--json", "sub/out.json"], capsys)
    assert "cannot write overlays to sub/new: permission denied" in refused(["a.png", "--overlay", "sub/new"], capsys)


@pytest.mark.usefixtures("pictures")
def test_bad_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--weights FILE" in refused(["a.png", "--model", "I"], capsys)  # RT comes with epcore
    assert "'V'" in refused(["a.png", "--model", "V"], capsys)
    assert "missing.h5" in refused(["a.png", "--weights", "missing.h5"], capsys)
    with pytest.raises(SystemExit) as stop:  # argparse knows the choices
        main(["predict", "a.png", "--backend", "tpu"])
    assert stop.value.code == 2
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


@pytest.mark.usefixtures("pictures")
def test_bad_weights(data_path, capsys: pytest.CaptureFixture[str]) -> None:
    """What each kind of file is told is the weights reader's business (its own tests); here: one line, nothing written."""
    release = data_path("release/EfficientPoseRT.h5")
    Path("cut.h5").write_bytes(release.read_bytes()[:500_000])
    Path("empty.h5").touch()
    Path("object.pkl").write_bytes(pickle.dumps({"kernel": np.zeros(3)}))
    backbone = data_path("efficientnet/EfficientNetB0_blocks123_k3.weights.h5")
    for weights in ("cut.h5", "empty.h5", "object.pkl", "missing.h5", "sub", "a.png", str(backbone)):
        message = refused(["a.png", "--weights", weights, "--json", "out.json", "--overlay", "drawn"], capsys)
        assert Path(weights).name in message
    message = refused(["a.png", "--model", "I", "--weights", str(release), "--json", "out.json"], capsys)
    assert "EfficientPose I" in message


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("variant", ["RT", "I"])
def test_release_photo(variant: str, backend: str, data_path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = np.load(data_path(f"golden/EfficientPose{variant}.npz"))
    weights, photo = data_path(f"release/EfficientPose{variant}.h5"), data_path("release/photo.jpg")
    arguments = ["predict", str(photo), "--model", variant, "--weights", str(weights), "--backend", backend, "--json", "-"]
    assert main(arguments) == 0
    (row,) = json.loads(capsys.readouterr().out)
    points = np.array([(point["x"], point["y"]) for point in row["keypoints"]])
    pixel = 1024 / golden["photo/x"].shape[1]  # of the full-size map, in the photo
    assert np.abs(points - golden["photo/coords"] * 1024).max() <= pixel + 0.0005  # coordinates are printed to thousandths


def test_as_a_process(data_path, tmp_path: Path) -> None:
    """Through the interpreter: exit code, one line, no traceback, no warning, and an odd picture that works."""
    weights = data_path("release/EfficientPoseRT.h5")
    Image.new("LA", (33, 71), (90, 128)).save(tmp_path / "odd.png")
    command = [sys.executable, "-W", "error", "-m", "epcore", "predict", "--min-score", "0", "--weights", str(weights)]
    good = subprocess.run([*command, tmp_path / "odd.png"], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert len(good.stdout.splitlines()) == 2 + len(KEYPOINTS)
    (tmp_path / "none").mkdir()
    bad = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == f"epcore: error: {tmp_path}/none is a folder without pictures (files ending in .jpg, .png, ...)\n"
