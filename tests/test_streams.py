"""The command line where standard streams are closed, full or left, in the C locale, and where Ctrl-C comes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import epcore

SHIPPED = str(Path(epcore.__file__).parent / "models/synthetic_rt.h5")
INSPECT = ["weights", "inspect", SHIPPED]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="shells of Unix")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line for sh, in which $EPCORE is the command."""
    variables = {**os.environ, "EPCORE": f"{sys.executable} -m epcore", "SHIPPED": SHIPPED, **environment}
    return subprocess.run(["sh", "-c", line], env=variables, capture_output=True, text=True, check=False, errors="replace")


class TestStreams:
    def test_closed_output(self, tmp_path: Path) -> None:
        """Nobody reads: work is done all the same; but who asks for JSON there is told."""
        done = shell(f"$EPCORE weights inspect $SHIPPED --json {tmp_path}/a.json >&-")
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "a.json").read_text().startswith("{")
        done = shell("$EPCORE weights inspect $SHIPPED --json - >&-")
        assert (done.returncode, done.stderr) == (2, "epcore: error: cannot write to standard output: it is closed\n")

    def test_everything_closed(self, tmp_path: Path) -> None:
        done = shell(f"$EPCORE weights inspect $SHIPPED --json {tmp_path}/a.json <&- >&- 2>&-")
        assert done.returncode == 0
        assert (tmp_path / "a.json").read_text().startswith("{")  # and no word of what is printed is in it
        assert (tmp_path / "a.json").read_text().endswith("}\n")
        assert shell("$EPCORE weights inspect no-such-file <&- >&- 2>&-").returncode == 2

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_full_output(self, tmp_path: Path) -> None:
        for command in ("inspect $SHIPPED", f"export $SHIPPED --output {tmp_path}/w.npz --manifest -"):
            done = shell(f"$EPCORE weights {command} > /dev/full")
            line = "epcore: error: cannot write to standard output: No space left on device\n"
            assert (done.returncode, done.stderr) == (2, line)
        assert list(tmp_path.iterdir()) == []  # together or not at all
        assert shell("$EPCORE weights inspect no-such-file 2> /dev/full").returncode == 2

    def test_a_reader_that_has_gone(self, tmp_path: Path) -> None:
        """The exit code is that of work that is done, and so is the work."""
        export = f"weights export $SHIPPED --output {tmp_path}/w.npz --manifest -"
        done = shell(f"{{ $EPCORE {export}; echo $? > {tmp_path}/code; }} | head -c 0")
        assert (done.stdout, done.stderr) == ("", "")
        assert (tmp_path / "code").read_text() == "0\n"
        assert {path.name for path in tmp_path.iterdir()} == {"w.npz", "code"}

    @pytest.mark.parametrize("coerced", ["0", "1"])
    def test_the_c_locale(self, coerced: str, tmp_path: Path) -> None:
        names = [b"caf\xc3\xa9.npz", b"\xff.npz"]
        for name in names:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"nothing")
            done = subprocess.run(
                [sys.executable, "-m", "epcore", "weights", "inspect", name], capture_output=True, check=False, cwd=tmp_path,
                env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": coerced, "PYTHONUTF8": coerced},
            )  # fmt: skip
            assert done.returncode == 2
            assert done.stderr.startswith(b"epcore: error: ") and done.stderr.count(b"\n") == 1
            assert b"codec" not in done.stderr


INTERRUPTED_IMPORTS = """
import os, signal, sys
from epcore.cli import main
left = int(sys.argv[1])
def hook(event, values):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
sys.exit(main(sys.argv[2:]))
"""


class TestCtrlC:
    @pytest.mark.parametrize("number", [1, 30, 100, 200])
    def test_while_modules_are_imported(self, number: int) -> None:
        command = [sys.executable, "-c", INTERRUPTED_IMPORTS, str(number), *INSPECT]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

    def test_the_command_line_begins_before_anything_large_is_imported(self) -> None:
        code = "import sys, epcore.cli; print(sorted({'numpy', 'numba', 'h5py', 'PIL', 'scipy'} & sys.modules.keys()))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    def test_nohup(self, tmp_path: Path) -> None:
        """A signal that is ignored stays ignored."""
        code = (
            "import os, signal, sys; from epcore.base.signals import ending_in_order\n"
            "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "with ending_in_order(): os.kill(os.getpid(), signal.SIGHUP); print('here')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "here\n")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_wrong_options_are_one_line() -> None:
    done = shell("$EPCORE predict --no-such-option; $EPCORE; $EPCORE train --workers x")
    assert done.stderr.splitlines() == [
        "epcore: error: unrecognized arguments: --no-such-option (see epcore --help)",
        "epcore: error: the following arguments are required: COMMAND (see epcore --help)",
        "epcore train: error: argument --workers: is 'x', expected a whole number from 0 to 256 (see epcore train --help)",
    ]
