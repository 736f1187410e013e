"""`epcore predict --box`, `--boxes`, `--find`, `--min-score`: ids in every output, what is said, what is refused."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from places import exit_code

from epcore.cli import main
from epcore.pose.skeleton import KEYPOINTS


class Brightness:
    """Every keypoint lies at the brightest place, with its brightness as score."""

    name, resolution, preprocessing, source = "brightness", 64, "signed", None

    def __call__(self, x: np.ndarray) -> SimpleNamespace:
        maps = np.repeat((x[..., :1] + 1) / 2, len(KEYPOINTS), axis=3)
        return SimpleNamespace(final=maps, confs=(maps,))


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a.png (200x100, spots of brightness around (50, 40) and (150, 60)) and dark.png."""
    monkeypatch.setattr("epcore.commands.predict.load_model", lambda arguments: Brightness())
    monkeypatch.setattr("epcore.inference.engine.engine", lambda model, **options: model)
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[30:50, 40:60], pixels[50:70, 140:160] = 255, 200
    Image.fromarray(pixels).save("a.png")
    Image.new("RGB", (60, 60), (10, 10, 10)).save("dark.png")
    Path("boxes.csv").write_text("image,x,y,width,height,id\na.png,30,20,40,40,left\na.png,130,40,40,40,right\n")
    return tmp_path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    before = sorted(Path.cwd().rglob("*"))
    assert exit_code(["predict", *arguments, "--json", "out.json", "--overlay", "drawn"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sorted(Path.cwd().rglob("*")) == before
    return captured.err


def error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    text = refused(arguments, capsys)
    assert text.startswith("epcore: error: ") and text.count("\n") == 1
    return text


def thorax(row: dict) -> tuple[float, float]:
    return row["keypoints"][5]["x"], row["keypoints"][5]["y"]


def test_a_box(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.png", "--box", "130,40,40,40", "--json", "-"]) == 0
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)
    assert row["box"] == [130, 40, 40, 40] and "id" not in row
    np.testing.assert_allclose(thorax(row), (150, 60), atol=11)
    assert captured.err == ""  # the score is not asked where the user says who it is
    assert main(["predict", "a.png", "--box", "1e1,.5,+20,80"]) == 0


def test_several_persons_keep_their_ids_in_every_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["predict", "a.png", "--boxes", "boxes.csv", "--json", "out.json", "--csv", "out.csv", "--overlay", "drawn"]) == 0
    )
    rows = json.loads(Path("out.json").read_text())
    assert [(row["image"], row["id"]) for row in rows] == [("a.png", "left"), ("a.png", "right")]
    np.testing.assert_allclose([thorax(row) for row in rows], [(50, 40), (150, 60)], atol=11)
    table = list(csv.DictReader(io.StringIO(Path("out.csv").read_text())))
    assert [row["id"] for row in table] == ["left"] * 16 + ["right"] * 16
    assert list(table[0]) == ["image", "id", "width", "height", "keypoint", "x", "y", "score"]
    assert [path.name for path in Path("drawn").iterdir()] == ["a_pose.jpg"]
    with Image.open("drawn/a_pose.jpg") as drawn:
        difference = np.abs(np.asarray(drawn).astype(int) - np.asarray(Image.open("a.png"))).sum(axis=2) > 200
    assert difference[:, :100].any() and difference[:, 100:].any()
    assert main(["predict", "a.png", "--boxes", "boxes.csv"]) == 0
    out = capsys.readouterr().out
    assert "a.png  200 x 100  person left" in out and "a.png  200 x 100  person right" in out


def test_boxes_and_pictures_that_do_not_belong_together(capsys: pytest.CaptureFixture[str]) -> None:
    Path("boxes.json").write_text(
        json.dumps([{"image_id": "a", "bbox": [30, 20, 40, 40]}, {"image_id": "other", "bbox": [1, 1, 5, 5]}])
    )
    assert main(["predict", "a.png", "dark.png", "--boxes", "boxes.json", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert [row["image"] for row in json.loads(captured.out)] == ["a.png"]
    assert captured.err.splitlines() == [
        "epcore: boxes.json has no box for 1 of 2 pictures, the first is dark.png",
        "epcore: 1 of 2 boxes of boxes.json are for other pictures",
    ]
    text = error(["dark.png", "--boxes", "boxes.json"], capsys)
    assert "boxes.json has boxes for other pictures (a, ...), none for dark.png" in text


@pytest.mark.parametrize("text", ["0,0,0,5", "0,0,5,0", "0,0,-4,5", "nan,0,5,5", "0,0,inf,5"])
def test_boxes_without_extent(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no extent, expected finite x, y, width, height" in error(["a.png", f"--box={text}"], capsys)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1 2 3 4"])
def test_what_is_no_box(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected four numbers X,Y,W,H" in error(["a.png", f"--box={text}"], capsys)


def test_boxes_outside_the_picture(capsys: pytest.CaptureFixture[str]) -> None:
    text = error(["a.png", "--box", "300,0,5,5"], capsys)
    assert "a.png: the box 300,0,5,5 (x, y, width, height) lies outside the picture of 200x100 pixels" in text
    Path("boxes.csv").write_text("image,x,y,width,height,id\na.png,30,20,40,40,left\na.png,30,200,40,40,below\n")
    assert "a.png: person below: the box 30,200,40,40" in error(["a.png", "--boxes", "boxes.csv"], capsys)


def test_damaged_and_missing_files_of_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cut.json").write_text('[{"image_id": "a", "bbox": [30, 20')
    assert "cut.json is not readable JSON" in error(["a.png", "--boxes", "cut.json"], capsys)
    assert "there is no file none.json" in error(["a.png", "--boxes", "none.json"], capsys)
    assert "would overwrite an input" in error(["a.png", "--boxes", "boxes.csv", "--csv", "boxes.csv"], capsys)


def test_options_that_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    for pair in (
        ["--box", "1,1,5,5", "--find"],
        ["--boxes", "boxes.csv", "--find"],
        ["--boxes", "boxes.csv", "--box", "1,1,5,5"],
    ):
        assert "not allowed with argument" in refused(["a.png", *pair], capsys)
    assert "--box is of one picture, and 2 are named: name their boxes with --boxes FILE" in error(
        ["a.png", "dark.png", "--box", "1,1,5,5"], capsys
    )


def test_no_confident_person_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    Image.open("dark.png").save("dark2.png")
    assert main(["predict", "dark.png", "a.png", "dark2.png", "--csv", "-"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no person is found with confidence in dark.png (and in 1 more): score 0.04, expected 0.57" in err
    assert "--find looks closer, --box X,Y,W,H says where" in err
    assert main(["predict", "dark.png", "--min-score", "0.01", "--csv", "-"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["predict", "a.png", "--min-score", "1", "--csv", "-"]) == 0
    assert "expected 1.00" in capsys.readouterr().err


def test_min_score_is_what_the_overlay_goes_by(tmp_path: Path) -> None:
    drawn = []
    for score in ("0.1", "0.99"):
        assert main(["predict", "a.png", "--box", "130,40,40,40", "--min-score", score, "--overlay", score]) == 0
        drawn.append((tmp_path / score / "a_pose.jpg").read_bytes())
    assert drawn[0] != drawn[1]


def test_find_says_what_it_found_or_that_it_gave_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.png", "--find", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("epcore: a.png: found in ")
    assert ", score 0.99, after 1 looks\n" in captured.err
    assert main(["predict", "dark.png", "--find", "--json", "-"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epcore: dark.png: --find gave up: nobody for sure, the likeliest in ")
    assert "no person is found with confidence in dark.png" in second
    assert "--find looks closer" not in second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-score", "2"], "--min-score"),
        (["--min-score", "nan"], "--min-score"),
        (["--scales", "0"], "--scales"),
        (["--method", "argmax"], "invalid choice: 'argmax'"),
    ],
)
def test_bad_numbers(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(["a.png", *options], capsys)


def test_ways_of_decoding_agree_to_a_pixel(capsys: pytest.CaptureFixture[str]) -> None:
    places = []
    for options in ([], ["--method", "dark"], ["--method", "parabola", "--coarse", "--flip"], ["--scales", "0.9", "1"]):
        assert main(["predict", "a.png", "--box", "30,20,40,40", *options, "--json", "-"]) == 0
        places.append(thorax(json.loads(capsys.readouterr().out)[0]))
    np.testing.assert_allclose(places, np.full((4, 2), (50, 40)), atol=11)
