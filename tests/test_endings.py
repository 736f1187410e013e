"""However a command ends, what it writes is there whole and together or not at all, and the next run leaves no rubbish."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from endings import OLD
from places import ROOT

import epcore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
SHIPPED = str(Path(epcore.__file__).parent / "models/synthetic_rt.h5")
PICTURE = str(Path(epcore.__file__).parent / "doctor/figure.png")
TEMPORARY = re.compile(r"\.epcore-[0-9a-f]{16}\.tmp")
OLD_DIGEST = hashlib.sha256(OLD).hexdigest()

# Commands, and the files that were there before.
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "predict": (
        ["predict", PICTURE, "--json", "FOLDER/a.json", "--overlay", "FOLDER/drawn"],
        ["a.json", "drawn/figure_pose.jpg"],
    ),
    "weights export": (
        ["weights", "export", SHIPPED, "--output", "FOLDER/w.npz", "--manifest", "FOLDER/m.json"],
        ["w.npz"],
    ),
    "vectors": (
        ["vectors", "--no-gradients", "--size", "32", "--output", "FOLDER/v.npz"],
        ["v.npz"],
    ),
    "data sample": (
        ["data", "sample", "FOLDER/new/pictures", "--count", "2", "--size", "32"],
        [],
    ),
}


# All commands go the same way when they are asked to end: walked with two.
SIGNALS = {"data sample": [signal.SIGTERM, signal.SIGINT], "weights export": [signal.SIGTERM]}


@pytest.fixture(scope="module", params=COMMANDS)
def endings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    arguments, old = COMMANDS[request.param]
    job = {
        "arguments": arguments, "old": old, "place": str(tmp_path_factory.mktemp("endings")), "rooms": [0, 300],
        "signals": [signal.SIGKILL, *SIGNALS.get(request.param, [])],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/endings.py"), json.dumps(job)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [{"old": old, **json.loads(line)} for line in done.stdout.splitlines()]


def expected(ending: dict[str, Any]) -> dict[str, str]:
    """The files as they were before."""
    return dict.fromkeys(ending["old"], OLD_DIGEST)


def files(found: dict[str, str]) -> dict[str, str]:
    """Without folders and temporary files."""
    return {name: digest for name, digest in found.items() if digest and name not in temporary(found)}


def temporary(found: dict[str, str]) -> list[str]:
    return [name for name in found if any(TEMPORARY.fullmatch(part) for part in Path(name).parts)]


def test_killed_anywhere(endings: list[dict[str, Any]]) -> None:
    """Never a partial file; what is left over is removed by the next run, which writes what it always does."""
    whole = files(endings[0]["files"])
    killed = [each for each in endings if each.get("number") == signal.SIGKILL]
    assert len(killed) >= 4 and killed[-1]["code"] == 0  # the last had no more dealings with files
    assert any(temporary(each["files"]) for each in killed)  # the test would say nothing without
    for each in killed:
        assert each["code"] in (-signal.SIGKILL, 0)
        old = expected(each)
        for name, digest in files(each["files"]).items():
            assert digest in (whole.get(name), old.get(name)), (each["at"], name)
        assert old.keys() <= each["files"].keys(), each["at"]
        assert each["again"] == 0
        assert not temporary(each["after"]), each["at"]
        assert files(each["after"]) == whole or not temporary(each["files"]), each["at"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_anywhere(endings: list[dict[str, Any]], number: int) -> None:
    """All of the files or none of them, nothing left over, the signal's exit code, no word."""
    whole = files(endings[0]["files"])
    ended = [each for each in endings if each.get("number") == number]
    if not ended:
        pytest.skip("walked with another command")
    assert len(ended) >= 4 and ended[-1]["code"] == 0
    for each in ended[:-1]:
        assert each["code"] == 128 + number, each
        assert "Traceback" not in each["said"] and "error" not in each["said"]
        assert not temporary(each["files"]), each["at"]
        assert files(each["files"]) in (expected(each), whole), each["at"]


def test_full_disk(endings: list[dict[str, Any]]) -> None:
    """One line that names a file of those to be written, and everything as it was."""
    full = [each for each in endings if each["how"] == "room"]
    assert len(full) == 2
    for each in full:
        assert each["code"] == 2
        line = each["said"].splitlines()[-1]
        assert re.fullmatch(r"epcore: error: cannot write .*/out/.*: File too large", line), each["said"]
        assert each["files"].keys() - set(each["old"]) <= {str(parent) for name in each["old"] for parent in Path(name).parents}
        assert files(each["files"]) == expected(each)
