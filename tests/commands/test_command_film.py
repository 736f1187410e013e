"""`epcore predict film.mp4`: what it writes, what it says of broken films, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

from film_files import ramps, write_film  # noqa: E402

from epcore.cli import main  # noqa: E402
from epcore.pose.skeleton import KEYPOINTS  # noqa: E402


class CornerModel:
    """All keypoints in the middle of a 32x32 input. interrupt: at which call Ctrl-C comes."""

    name, resolution, preprocessing, source = "corners", 32, "imagenet", None
    interrupt = 0

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: np.ndarray) -> Any:
        self.calls += 1
        if self.calls == self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        maps = np.zeros((1, 32, 32, len(KEYPOINTS)), np.float32)
        for index in range(len(KEYPOINTS)):
            maps[0, 12 + index // 2, 12 + index % 4, index] = 0.9
        return SimpleNamespace(final=maps)


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CornerModel:
    chosen = CornerModel()
    monkeypatch.setattr("epcore.commands.film.load_model", lambda arguments: chosen)
    monkeypatch.setattr("epcore.inference.engine.engine", lambda model, **options: model)
    monkeypatch.chdir(tmp_path)
    write_film(Path("a.mp4"), ramps(10), sound="aac")
    return chosen


def files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*")}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    before = files()
    assert main(["predict", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("epcore: error: ") and captured.err.count("\n") == 1
    assert files() == before
    return captured.err


OUTPUTS = [
    "--json", "o.json", "--json-lines", "o.jsonl", "--csv", "o.csv", "--csv-wide", "w.csv", "--coco", "coco.json", "--angles",
    "angles.csv", "--trc", "o.trc", "--height", "1.7", "--openpose", "op", "--overlay", "drawn",
]  # fmt: skip
WRITTEN = {"o.json", "o.jsonl", "o.csv", "w.csv", "coco.json", "angles.csv", "o.trc", "op", "drawn", "drawn/a_pose.mp4"}


def check_outputs(count: int) -> None:
    lines = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in lines] == list(range(count))
    assert [row["time"] for row in lines] == pytest.approx(np.arange(count) / 25, abs=1e-6)
    assert json.loads(Path("o.json").read_text()) == lines
    assert len(json.loads(Path("coco.json").read_text())) == count
    assert len(list(csv.reader(io.StringIO(Path("o.csv").read_text())))) == 1 + count * len(KEYPOINTS)
    for name in ("w.csv", "angles.csv"):
        assert len(Path(name).read_text().splitlines()) == 1 + count
    assert len(Path("o.trc").read_text().splitlines()) == 6 + count
    assert {path.name for path in Path("op").iterdir()} == {f"a_{frame:012}_keypoints.json" for frame in range(count)}
    with av.open("drawn/a_pose.mp4") as container:
        assert len(container.streams.audio) == 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == count
    assert np.ptp(frames[0].astype(int), axis=2).max() > 60  # grey before; the skeleton has colours


def test_all_formats(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.mp4", *OUTPUTS]) == 0
    assert capsys.readouterr() == ("", "")
    assert {name for name in files() if not name.startswith("op/")} == {"a.mp4"} | WRITTEN
    check_outputs(10)


def test_ctrl_c_keeps_what_is_done(model: CornerModel, capsys: pytest.CaptureFixture[str]) -> None:
    model.interrupt = 5
    assert main(["predict", "a.mp4", "--real-time", *OUTPUTS]) == 130
    assert capsys.readouterr().err == "epcore: a.mp4: stopped after 4 frames\n"
    check_outputs(4)


def test_without_outputs_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "a.mp4", "--frames", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("a.mp4  64 x 48, 3 frames, ")
    assert main(["predict", "a.mp4", "--json-lines", "-", "--smooth"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_pictures_have_the_formats_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    monkeypatch.setattr("epcore.commands.predict.load_model", lambda arguments: CornerModel())
    monkeypatch.setattr("epcore.inference.engine.engine", lambda model, **options: model)
    Image.new("RGB", (64, 64), (200, 30, 30)).save("000000000123.png")
    pictures = ["predict", "000000000123.png", "--real-time", "--min-score", "0"]
    outputs = ["--coco", "coco.json", "--json-lines", "-", "--csv-wide", "w.csv", "--angles", "angles.csv", "--openpose", "op"]
    assert main([*pictures, *outputs]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == "000000000123.png"
    assert json.loads(Path("coco.json").read_text())[0]["image_id"] == 123
    assert Path("w.csv").read_text().startswith("image,width,height,score,head_top_x,")
    assert [path.name for path in Path("op").iterdir()] == ["000000000123_keypoints.json"]
    assert "--trc holds the frames of a film" in refused(["000000000123.png", "--trc", "o.trc", "--height", "1.7"], capsys)


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no picture, film or camera is named" in refused([], capsys)
    assert "a.mp4 is a film: expected it alone" in refused(["a.mp4", "b.jpg"], capsys)
    assert "--camera and a.mp4 are both named" in refused(["a.mp4", "--camera", "0"], capsys)
    assert "--box is for pictures" in refused(["a.mp4", "--box", "1,2,3,4"], capsys)
    assert "--height M says how tall" in refused(["a.mp4", "--trc", "o.trc"], capsys)
    assert "cannot open camera 93" in refused(["--camera", "93"], capsys)


def test_unwritable_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no folder" in refused(["a.mp4", "--json-lines", "none/o.jsonl"], capsys)
    assert "expected a folder" in refused(["a.mp4", "--overlay", "a.mp4"], capsys)
    assert "--coco a.mp4 would overwrite an input" in refused(["a.mp4", "--coco", "a.mp4"], capsys)


@pytest.mark.skipif(os.name == "nt", reason="limits of files are POSIX's")
def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        message = refused(["a.mp4", "--overlay", "drawn"], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in message and "a_pose.mp4" in message


def test_films_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.mp4").write_text("no film")
    Path("empty.mp4").touch()
    assert "text.mp4 is not a film" in refused(["text.mp4", "--overlay", "drawn"], capsys)
    assert "empty.mp4 is empty" in refused(["empty.mp4", "--csv", "o.csv"], capsys)
    assert "there is no film missing.mp4" in refused(["missing.mp4"], capsys)


def test_a_film_that_ends_early_is_done_as_far_as_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    write_film(Path("cut.mov"), [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(20)],
               codec="mpeg4")  # fmt: skip
    # the index at the front survives the cut, as in films that are made to be streamed
    with av.open("cut.mov") as source, av.open("front.mp4", "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = Path("front.mp4").read_bytes()
    Path("front.mp4").write_bytes(data[: len(data) * 2 // 3])
    assert main(["predict", "front.mp4", "--json-lines", "o.jsonl"]) == 1
    said = capsys.readouterr().err
    assert "epcore: front.mp4: " in said and ("ends early" in said or "damaged" in said)
    assert 5 < len(Path("o.jsonl").read_text().splitlines()) < 20
    assert "front.mp4: " in refused(["front.mp4", "--strict", "--json-lines", "p.jsonl"], capsys)
