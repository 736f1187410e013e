"""What runs on the emulator is CUDA: NVRTC compiles the exercises' files and the steps of the ladder, and spills nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import DOCS

from epcore.kernels.cuda.loader import OPTIONS
from epcore.learn.cuda.exercises import TEXTS

pytest.importorskip("cupy", reason="CuPy is not installed: it brings NVRTC, which compiles the kernels (epcore[gate])")

FILES = sorted([*TEXTS.glob("*.cu"), *(DOCS / "examples" / "ladder").glob("*.cu")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_for_the_oldest_and_the_newest_generation(path: Path) -> None:
    from cuda_on_host.compile_gate import ARCHITECTURES, compile_for
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except (RuntimeError, ImportError) as error:
        pytest.skip(f"NVRTC is missing: {error}")
    code = path.read_text(encoding="utf-8")
    kernels = re.findall(r"__global__ void (\w+)\(", code)
    assert kernels
    for architecture in (ARCHITECTURES[0], ARCHITECTURES[-1]):
        resources = compile_for(code, path.name, architecture, kernels, OPTIONS)
        assert [kernel for kernel in kernels if resources[kernel].spills] == []
