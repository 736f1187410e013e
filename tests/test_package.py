"""The package as users get it: importable names, guards, backends, the command line's manners."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

import epcore
from epcore import backend
from epcore.base.arrays import array_module, not_finite, require_finite
from epcore.cli import COMMANDS, main
from epcore.ops import OPS


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


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_one_cupy_beside_a_gpus(extra: str) -> None:
    """Two distributions of CuPy overwrite each other, and CuPy warns at every import: a GPU's extra goes with all others."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {
        name: {re.split("[^a-z0-9-]", line)[0] for line in lines if line.startswith("cupy")} for name, lines in extras.items()
    }
    (own,) = wanted[extra]
    assert {name for name, found in wanted.items() if found - {own}} <= {"cuda12", "cuda13", "gate"}


def test_public_names_exist() -> None:
    for name in epcore.__all__:
        assert getattr(epcore, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = epcore.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["reference", "cpu", "cuda"])
@pytest.mark.parametrize("op", OPS)
def test_every_operator_has_a_kernel_on_every_backend(op: str, name: str) -> None:
    module = backend.kernel_module(op, name)
    assert module.__name__.endswith(f".{op}")
    assert callable(module.forward)
    assert callable(module.backward)


class TestMissingKernel:
    def test_unknown_operator(self, rng: np.random.Generator) -> None:
        for x in (rng.normal(size=3), rng.normal(size=3).astype(np.float32)):
            with pytest.raises(ValueError, match=r"unknown operator 'sinh': expected one of conv2d, "):
                backend.kernel("sinh", x)

    def test_module_that_is_no_operator(self) -> None:
        with pytest.raises(ValueError, match="unknown operator 'launch'"):
            backend.kernel_module("launch", "cpu")

    @pytest.mark.parametrize("name", ["auto", "gpu"])
    def test_backend_without_kernels(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"backend '{name}' has no kernels: expected one of reference, cpu, cuda"):
            backend.kernel_module("swish", name)

    def test_no_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(OPS, "hard_swish", OPS["swish"])
        message = r"hard_swish has no kernel on backend 'cpu': there is no module epcore\.kernels\.cpu\.hard_swish"
        with pytest.raises(ValueError, match=message):
            backend.kernel_module("hard_swish", "cpu")

    def test_auto_takes_the_reference(self, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
        """Where the chosen backend has no file; a backend that is named has to have one."""
        monkeypatch.setitem(OPS, "hard_swish", OPS["swish"])
        single = rng.normal(size=3).astype(np.float32)
        monkeypatch.setitem(sys.modules, "epcore.ops.hard_swish", sys.modules["epcore.ops.swish"])
        assert backend.kernel("hard_swish", single) == (OPS["swish"].forward, OPS["swish"].backward)
        with epcore.use_backend("cpu"), pytest.raises(ValueError, match="hard_swish has no kernel on backend 'cpu'"):
            backend.kernel("hard_swish", single)
        backend.kernel_module.cache_clear()
        backend.has_kernel.cache_clear()

    def test_what_a_kernel_lacks_is_named_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def without_numba(name: str) -> None:
            raise ModuleNotFoundError("No module named 'numba'", name="numba")

        monkeypatch.setattr(backend, "import_module", without_numba)
        with pytest.raises(ModuleNotFoundError, match="numba"):
            backend.kernel_module.__wrapped__("swish", "cpu")


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

    def test_values_that_are_no_numbers_are_counted(self) -> None:
        x = np.array([[1, np.nan], [-np.inf, np.inf]], np.float32)
        assert (not_finite(x), not_finite(x[:1, :1])) == (3, 0)
        require_finite(x[:, :0], "x")
        with pytest.raises(ValueError, match=r"^x has 3 values that are NaN or infinite$"):
            require_finite(x, "x")

    def test_lists_are_refused(self) -> None:
        with pytest.raises(TypeError, match="list"):
            array_module([1.0])


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
