"""The worked example of docs/porting.md: run as printed, found as printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

import epcore
from epcore.cli import main

SCRIPT, PAGE = ROOT / "docs" / "examples" / "port_to_torch.py", ROOT / "docs" / "porting.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if not SCRIPT.is_file():
        pytest.skip("the documentation is not beside the tests")
    folder = tmp_path_factory.mktemp("example")
    weights = Path(epcore.__file__).parent / "models" / "synthetic_rt.h5"
    assert main(["vectors", "--output", str(folder / "vectors.npz"), "--layout", "NCHW", "--size", "96"]) == 0
    export = ["weights", "export", str(weights), "--model", "RT", "--layout", "NCHW", "--output", str(folder / "weights.npz")]
    assert main(export) == 0
    return folder


def run(folder: Path, *options: str) -> int:
    files = [str(folder / name) for name in ("vectors.npz", "weights.npz", "port.npz")]
    subprocess.run([sys.executable, str(SCRIPT), *files, *options], check=True)
    return main(["diff", files[2], "--vectors", files[0]])


def printed(number: int) -> list[str]:
    """Lines of the page's n-th block of output."""
    return PAGE.read_text(encoding="utf-8").split("```text\n")[number].partition("```")[0].splitlines()


def test_first_try(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--first-try") == 1
    out = capsys.readouterr().out
    lines = printed(1)
    assert len(lines) > 20 and [line for line in lines if line.strip() not in out] == []
    assert out.count("diverges") == 6


def test_mended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert [line for line in printed(2) if line.strip() not in out] == []
