"""`epcore demo`: everything on one page that asks for nothing from outside."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import epcore
from epcore.cli import main
from epcore.demo.page import demo_page
from epcore.demo.sheet import TILE, flow
from epcore.export.weights import export_weights


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With untrained weights: what it says about them is bad, how it says it is the same."""
    export_weights(epcore.EfficientPose("RT"), tmp_path / "w.h5")
    out = tmp_path / "demo"
    arguments = ["demo", "--weights", str(tmp_path / "w.h5"), "--output", str(out), "--figures", "2", "--pictures", "3"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "PCKh" in text
    assert "all within their bounds: yes" in text
    assert "460,284" in text  # the audit's RT
    page = (out / "index.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width == 4 * TILE
        assert sheet.height >= 2 * TILE


def test_page_escapes_what_it_shows() -> None:
    png = io.BytesIO()
    Image.new("RGB", (1, 1)).save(png, "PNG")
    page = demo_page(
        sheet=png.getvalue(), weights="<b>", timings={"<i>": 1.0}, pckh="a < b", gradients=[("x&y", 1.0, 0.1)], audit="<script>"
    )
    assert "<script>" not in page
    assert "a &lt; b" in page
    assert "x&amp;y" in page
    assert "<td>NO</td>" in page


def test_flow_shows_direction_by_hue() -> None:
    pafs = np.zeros((8, 8, 28), np.float32)
    pafs[:, :4, 0] = 1  # to the right
    pafs[:, 4:, 1] = 1  # down
    left, right = (np.array(flow(pafs).convert("HSV"))[TILE // 2, x] for x in (TILE // 8, TILE * 7 // 8))
    assert left[0] < 8
    assert 56 <= right[0] <= 72  # a quarter turn
    assert left[2] > 240


@pytest.mark.parametrize("option", ["--figures", "--pictures"])
def test_numbers_below_one(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", option, "0"])
    assert "expected a whole number from 1" in capsys.readouterr().err
