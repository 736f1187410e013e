"""epcore in a container: a read-only root, a user nobody knows, no home, little or nothing to write to.

The name space is made for real, which takes an administrator on Linux, `unshare` and `setpriv`; skipped elsewhere. The package
is copied without its caches, so that nothing is compiled already.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import epcore

PACKAGE = Path(epcore.__file__).parent
NOBODY = "12345"

# Arguments: folder for a small temporary file system or "", its size, then the command. The user may read everything, wherever
# Python and the checkout lie, and write nothing.
ENTER = r"""
folder=$1 size=$2; shift 2
for mount in $(awk '$2 !~ "^/(proc|sys)(/|$)" { print $2 }' /proc/self/mounts); do
    mount -o remount,bind,ro "$mount" 2>/dev/null
done
[ -z "$folder" ] || mount -t tmpfs -o "size=$size,mode=1777" tmpfs "$folder" || exit 99
exec setpriv --reuid NOBODY --regid NOBODY --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
""".replace("NOBODY", NOBODY)

# Runs command lines one after another, so that what they share is compiled once.
COMMANDS = """
import json, sys
from epcore.cli import main

if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
        print(f"\\n#### {' '.join(arguments)}: {code}", flush=True)
"""
NOT_KEPT = "epcore: compiled kernels cannot be kept, so every process compiles them anew: set NUMBA_CACHE_DIR"


class Container:
    """root: a folder with the package and a picture."""

    def __init__(self, root: Path) -> None:
        self.root, self.site = root, root / "site"
        self.writable = root / "writable"
        self.writable.mkdir()
        shutil.copytree(PACKAGE, self.site / "epcore", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "commands.py").write_text(COMMANDS)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)).save(root / "photo.png")
        np.save(root / "x.npy", np.zeros((1, 224, 224, 3), np.float32))

    def environment(self, **variables: str) -> dict[str, str]:
        """No HOME, nothing of the tests' own settings but the processor that is compiled for."""
        passed = ("PATH", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
        kept = {name: os.environ[name] for name in passed if name in os.environ}
        return {**kept, "PYTHONPATH": str(self.site), **variables}

    def run(self, *arguments: str, size: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Python with these arguments. size: of a temporary file system that TMPDIR names; nothing can be written without."""
        folder = str(self.writable) if size else ""
        if size:
            variables = {"TMPDIR": folder, **variables}
        command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", ENTER, "enter", folder, size, sys.executable]
        return subprocess.run(
            [*command, *arguments], cwd=self.root, env=self.environment(**variables), capture_output=True, text=True,
            errors="replace", check=False, timeout=900,
        )  # fmt: skip

    def commands(self, *lines: str, size: str = "") -> tuple[dict[str, str], str, str]:
        """(command line -> exit code, standard output, standard error)."""
        result = self.run("commands.py", json.dumps([line.split() for line in lines]), size=size)
        assert result.returncode == 0, result.stderr
        codes = [line.removeprefix("#### ").rsplit(": ", 1) for line in result.stdout.splitlines() if line.startswith("#### ")]
        return dict(codes), result.stdout, result.stderr  # type: ignore[arg-type]


@pytest.fixture
def container() -> Iterator[Container]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("name spaces of mounts take an administrator on Linux")
    for program in ("unshare", "setpriv", "mount", "awk", "bash"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    # Not pytest's folder, which only its owner may enter: `access` does not ask for what the user may read all the same.
    root = Path(tempfile.mkdtemp(prefix="epcore-container-"))
    root.chmod(0o755)
    try:
        yield _entered(Container(root))
    finally:
        shutil.rmtree(root)


def _entered(made: Container) -> Container:
    probe = made.run("-c", "import os; print(os.getuid())")
    if probe.returncode or probe.stdout.strip() != NOBODY:
        pytest.skip(f"no name space can be made here: {probe.stderr.strip()[-200:]}")
    return made


def test_nothing_can_be_written_there(container: Container) -> None:
    """What the tests below stand on."""
    code = """
import os, tempfile
for folder in (".", "writable", "site/epcore", "/", "/tmp", "/var/tmp", "/dev/shm"):
    try:
        open(os.path.join(folder, "epcore-probe"), "w").close()
    except OSError:
        continue
    print(folder, "can be written")
print("HOME" in os.environ, os.path.expanduser("~"))
"""
    assert container.run("-c", code).stdout == "False ~\n"


def test_commands_with_nothing_to_write_to(container: Container) -> None:
    lines = ["--version", "predict photo.png --json -", "predict photo.png", "run --input x.npy --output -", "audit"]
    codes, out, err = container.commands(
        *lines, "weights inspect site/epcore/models/synthetic_rt.h5", "predict photo.png --csv out.csv"
    )
    assert codes.pop("predict photo.png --csv out.csv") == "2"
    assert set(codes.values()) == {"0"}, err
    assert '"right_wrist"' in out
    assert err.count(NOT_KEPT) == 1
    assert "Warning" not in err
    assert "Traceback" not in err


def test_kernels_of_an_image_are_used(container: Container) -> None:
    """Compiled when the image was built, loaded where nothing can be written: no word, no compiling."""
    code = """
import numpy as np
from epcore.kernels.cpu import swish
assert np.isfinite(swish.forward(np.ones(100, np.float32))[0]).all()
print(sum(swish.activate.kernel.stats.cache_hits.values()))
"""
    options = {"cwd": container.root, "env": container.environment(), "capture_output": True, "text": True}
    build = subprocess.run([sys.executable, "-c", code], check=True, timeout=300, **options)  # type: ignore[call-overload]
    assert build.stdout == "0\n"
    result = container.run("-W", "error", "-c", code)
    assert (result.stdout, result.stderr) == ("1\n", "")
    shutil.move(container.site / "epcore/kernels/cpu/__pycache__", container.root / "elsewhere")
    result = container.run("-c", code)
    assert result.stdout == "0\n"
    assert "CacheNotice" in result.stderr


def test_a_temporary_folder_too_small_for_the_kernels(container: Container) -> None:
    """As much as fits is kept; the work is done all the same."""
    code = """
import os
import numpy as np
from epcore.kernels.cpu import relu, swish
for module in (relu, swish):
    module.forward(np.ones(100, np.float32))
print("done")
"""
    result = container.run("-c", code, size="16k")
    assert result.stdout == "done\n", result.stderr
    assert result.stderr.count("CacheNotice") == 1


def test_one_core(container: Container) -> None:
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{core}])\nimport epcore, numpy as np\nfrom epcore.kernels.cpu import swish\n"
    code += "swish.forward(np.ones(100, np.float32)); print(epcore.get_threads())"
    assert container.run("-c", code).stdout == "1\n"


@pytest.mark.slow
def test_every_command_with_a_small_temporary_folder(container: Container) -> None:
    folder = container.writable
    lines = [
        f"predict photo.png --overlay {folder}/overlays", f"run --input x.npy --output {folder}/y.npz", "evaluate --pictures 2",
        f"demo --figures 1 --pictures 2 --output {folder}/demo", "gradcheck --only ops", f"data sample --count 1 {folder}/data",
        f"vectors --output {folder}/v.npz --size 64 --no-gradients", f"vectors --operators --output {folder}/o.npz",
        f"train --output {folder}/run --pictures 8 --batch-size 4 --resolution 32 --workers 2 --epochs 1 --backend reference",
        "readiness --pictures 1",
    ]  # fmt: skip
    codes, _, err = container.commands(*lines, size="256m")
    assert set(codes.values()) == {"0"}, (codes, err)
    assert len(codes) == len(lines)
    assert err.count(NOT_KEPT) == 1
    assert "Warning" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["predict", "photo.png", "--json", "-"], ["run", "--input", "x.npy", "--output", "-"]])
def test_closed_standard_output(tmp_path: Path, arguments: list[str]) -> None:
    """One line and exit code 2, before any work."""
    if os.name != "posix":
        pytest.skip("closes a descriptor before Python starts")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    np.save(tmp_path / "x.npy", np.zeros((1, 224, 224, 3), np.float32))
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "epcore", *arguments]
    result = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert result.returncode == 2
    assert "epcore: error: cannot write to standard output: it is closed" in result.stderr
    assert "Traceback" not in result.stderr


def test_closed_standard_error(tmp_path: Path) -> None:
    """Messages do not land in the results."""
    if os.name != "posix":
        pytest.skip("closes a descriptor before Python starts")
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "epcore", "predict", "no such picture"]
    result = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=False, timeout=120)
    assert (result.returncode, result.stdout) == (2, "")
