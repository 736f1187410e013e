"""The package as users get it: importable names, guards, backends, the command line's manners."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import epcore
from epcore import backend
from epcore.cli import COMMANDS, main
from epcore.ops import OPS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["kernels", "weights_tools"])
def test_bare_names_are_refused(name: str) -> None:
    if not (ROOT / name).is_dir():
        pytest.skip("not a checkout")
    result = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"import this package as epcore.{name}" in result.stderr


def test_checkout_without_symbolic_links(tmp_path: Path) -> None:
    """Where links are not supported, git writes small text files in their place."""
    if not (ROOT / "kernels").is_dir():
        pytest.skip("not a checkout")
    (tmp_path / "epcore").mkdir()
    for path in (ROOT / "epcore").rglob("*.py"):
        relative = path.relative_to(ROOT)
        if relative.parts[1] in ("kernels", "weights_tools"):
            continue
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / relative).write_bytes(path.read_bytes())
    for name in ("kernels", "weights_tools"):
        (tmp_path / "epcore" / name).write_text(f"../{name}")
        (tmp_path / name).symlink_to(ROOT / name)
    code = "import epcore, epcore.kernels, epcore.weights_tools; print(epcore.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert str(tmp_path) in result.stdout


def test_public_names_exist() -> None:
    for name in epcore.__all__:
        assert getattr(epcore, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = epcore.nonsense  # type: ignore[attr-defined]


def test_every_operator_has_a_kernel_on_every_backend() -> None:
    assert set(backend.KERNELS) == {(op, name) for op in OPS for name in ("cpu", "cuda")}


@pytest.mark.parametrize("key", [key for key in backend.KERNELS if key[1] == "cpu"])
def test_cpu_kernels_are_importable(key: tuple[str, str]) -> None:
    module = importlib.import_module(backend.KERNELS[key])
    assert callable(module.forward)
    assert callable(module.backward)


class TestBackend:
    def test_unknown_name(self) -> None:
        with pytest.raises(ValueError, match=r"'gpu'.*auto, reference, cpu, cuda"), epcore.use_backend("gpu"):
            pass

    def test_is_restored(self) -> None:
        with epcore.use_backend("reference"):
            assert backend.current_backend() == "reference"
        assert backend.current_backend() == "auto"

    def test_auto_takes_the_reference_for_double(self, rng: np.random.Generator) -> None:
        forward, _ = backend.kernel("swish", rng.normal(size=3))
        assert forward is OPS["swish"].forward

    def test_auto_takes_the_cpu_kernel_for_single(self, rng: np.random.Generator) -> None:
        forward, _ = backend.kernel("swish", rng.normal(size=3).astype(np.float32))
        assert forward.__module__.endswith("kernels.cpu.swish")

    def test_named_cpu_refuses_double(self, rng: np.random.Generator) -> None:
        x = rng.normal(size=(1, 4, 4, 8))
        with epcore.use_backend("cpu"), pytest.raises(TypeError, match="float32"):
            backend.kernel("swish", x)[0](x)

    def test_named_cuda_refuses_numpy(self, rng: np.random.Generator) -> None:
        with epcore.use_backend("cuda"), pytest.raises(TypeError, match="CuPy"):
            backend.kernel("swish", rng.normal(size=3).astype(np.float32))

    def test_lists_are_refused(self) -> None:
        with pytest.raises(TypeError, match="list"):
            backend.array_module([1.0])


class TestCommandLine:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_has_help(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert name in capsys.readouterr().out

    def test_unknown_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["pridict"])
        assert stop.value.code == 2
        assert "pridict" in capsys.readouterr().err

    def test_module_and_version(self) -> None:
        result = subprocess.run([sys.executable, "-m", "epcore", "--version"], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == f"epcore {epcore.__version__}"
