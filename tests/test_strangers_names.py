"""Names that strangers chose, of files and in files: pages show them and run nothing, terminals show them and obey nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpii_helpers import picture, point, rectangle, write
from PIL import Image
from places import ROOT

import epcore
from epcore.audit.svg import figure, stacked_bars, text
from epcore.base.notices import Notice, as_lines, say
from epcore.base.printable import printable
from epcore.cli import COMMANDS, main
from epcore.demo.page import demo_page
from epcore.export.weights import export_weights
from epcore.port.store import Vectors, write_vectors

NAME = "\x1b[2J\x1b[31m<script>alert(1)<\u202e\x07\x9b"
# Names of Windows' files cannot have these.
POSIX = pytest.mark.skipif(os.name != "posix", reason="such names of files are POSIX'")
COMMANDS_LEFT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


# ---- terminals


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain ü 日本 \U0001f3c3\n\tx", "plain ü 日本 \U0001f3c3\n\tx"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\r", r"\r"),
        ("\x9b\x7f\0", r"\x9b\x7f\x00"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_printable(given: str, shown: str) -> None:
    assert printable(given) == shown


def test_notices(capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    say(NAME)
    with warnings.catch_warnings(), as_lines():
        warnings.simplefilter("always")
        warnings.warn(NAME, Notice, stacklevel=1)
    said = capsys.readouterr().err
    assert said.count(r"\x1b[2J") == 2 and not COMMANDS_LEFT.search(said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with such names, and such names in files."""
    below = tmp_path_factory.mktemp("names") / NAME
    below.mkdir()
    model = epcore.EfficientNet("B0", blocks=1)
    export_weights(model, below / "w.h5")
    with h5py.File(below / "w.h5", "r+") as file:
        file[f"{NAME}/kernel"] = np.zeros(3, np.float32)
    (below / "bad.h5").write_bytes(b"nothing")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(below / "p.png")
    (below / "bad.png").write_bytes(b"nothing")
    np.save(below / "x.npy", np.zeros((1, 32, 32, 3), np.float32))
    manifest = {"epcore_format": "epcore vectors 1", "kind": NAME, "variant": NAME}
    write_vectors(below / "v.npz", Vectors({NAME: np.zeros(3, np.float32)}, manifest))
    (below / "data" / "images").mkdir(parents=True)
    points = [point(10 * i, 5 * i, i) for i in range(16)]
    write(below / "data", [picture(NAME, rectangle(*points)), picture(f"{NAME}2", rectangle(*points, scale=-1))], [1, 1])
    (below / "run").mkdir()
    (below / "run" / "log.jsonl").write_text("{}\n")
    (below / "c.toml").write_text(f"'{NAME[4:].translate({27: None, 7: None, 0x9B: None})}' = 1\n", "utf-8")
    return below


# @: below the folder with that name.
LINES = {
    "predict": ["@bad.png", "@p.png --weights @bad.h5", "@p.png --weights @w.h5"],
    "run": ["--input @x.npy --output @y.npz", "--input @bad.png --output @y.npz"],
    "exercise": ["swish --check @none.py", "swish --check @bad.png"],
    "learn": ["status --folder @none", "check --folder @w.h5", "--folder @p.png"],
    "data": ["check @data", "split @data @train.txt @validation.txt", "check @none", "sample @bad.png"],
    "train": ["--output @run --config @c.toml", "--output @run --resume", "--output @out --init @bad.h5"],
    "evaluate": ["--run @run", "--weights @bad.h5", "--data mpii --folder @data"],
    "plot": ["@run", "@none"],
    "weights": [
        "inspect @w.h5",
        "inspect @bad.h5",
        "import @w.h5 --model B0 --no-strict --output @o.npz",
        "import @bad.h5 --output @o.h5",
    ],
    "vectors": ["--output @none/v.npz", "--output @v.npz --image @bad.png", "--output @v.npz --weights @bad.h5"],
    "diff": ["@v.npz --vectors @v.npz", "@w.h5 --vectors @w.h5", "@bad.h5 --vectors @v.npz"],
    "readiness": ["@bad.png", "--weights @bad.h5"],
    "export-onnx": ["--weights @bad.h5 --output @o.onnx"],
    "demo": ["--weights @bad.h5 --output @bad.png"],
}
NO_FILES = {"audit", "gradcheck", "kernel", "doctor"}  # are read by these


def test_every_command_is_walked() -> None:
    assert LINES.keys() | NO_FILES == COMMANDS.keys()


@POSIX
@pytest.mark.parametrize("command", LINES)
def test_commands_show_names_as_they_are(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = 0
    for line in LINES[command]:
        words = [str(folder / word[1:]) if word.startswith("@") else word for word in line.split()]
        try:
            code = main([command, *words])
        except SystemExit as end:
            code = int(str(end.code))
        assert code in (0, 1, 2)
        printed = "".join(capsys.readouterr())
        assert not COMMANDS_LEFT.search(printed), line
        shown += r"\x1b[2J\x1b[31m<script>" in printed
    assert shown


# ---- pages


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.add(tag)


def elements(page: str) -> set[str]:
    parser = Elements()
    parser.feed(page)
    return parser.found


HOSTILE = "</title></pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_pages_escape_names() -> None:
    page = demo_page(
        sheet=b"", weights=HOSTILE, timings={HOSTILE: 1.0}, pckh=HOSTILE, gradients=[(HOSTILE, 0.0, 1.0)], audit=HOSTILE
    )
    assert "script" not in elements(page) and page.count("&lt;script&gt;") == 5
    assert page.count("<img ") == 1  # the sheet


def test_charts_escape_names() -> None:
    bars = stacked_bars({HOSTILE: [1, 2]}, [HOSTILE, HOSTILE], str, HOSTILE)
    for svg in (text(0, 0, HOSTILE), figure(1, [], HOSTILE), bars):
        assert not elements(svg) & {"script", "img"} and "&lt;script&gt;" in svg


def test_no_other_pages_are_written() -> None:
    """Whoever writes another one adds it above."""
    sources = [*(ROOT / "epcore").rglob("*.py"), *(ROOT / "weights_tools").rglob("*.py")]
    parts = re.compile(r"<html|<svg|<table|<pre>")
    writers = {path.relative_to(ROOT).as_posix() for path in sources if parts.search(path.read_text("utf-8"))}
    assert writers == {"epcore/demo/page.py", "epcore/audit/page.py", "epcore/audit/svg.py"}


# ---- and what comes before a command


def test_nothing_large_is_imported_before_the_command_line_can_be_interrupted() -> None:
    code = "import sys, epcore, epcore.cli; print([n for n in ('numpy', 'numba', 'h5py', 'scipy', 'PIL') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("threads", ["100000", "0", "many", "9" * 30])
def test_a_wrong_number_of_threads_is_one_line(
    threads: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPCORE_THREADS", threads)
    shown = threads if threads.isdecimal() and len(threads) < 10 else repr(threads)
    lines = {command: lines[0] for command, lines in LINES.items()} | dict.fromkeys(NO_FILES, "") | {"kernel": "conv2d"}
    for command, line in lines.items():
        words = [str(folder / word[1:]) if word.startswith("@") else word for word in line.split()]
        assert main([command, *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"epcore: error: EPCORE_THREADS is {shown}, expected") and said.count("\n") == 1, command
