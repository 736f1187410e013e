"""Every kernel compiles for every GPU generation supported and keeps its values in registers. Needs no GPU: NVRTC only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

pytest.importorskip("cupy", reason="CuPy is not installed: it brings NVRTC, which compiles the kernels (epcore[gate])")

from cuda_on_host.compile_gate import ARCHITECTURES, CUPYS_OPTIONS, GENERATIONS, Resources, compile_for
from cuda_on_host.devices import sources

from epcore.kernels.cuda.loader import OPTIONS, WIDTHS, Source

SPILLING = """
__global__ void __launch_bounds__(1024, 2) spilling(const float* x, float* y) {
  float a[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) a[i] = x[i * 1024 + threadIdx.x];
#pragma unroll
  for (int j = 0; j < 64; ++j) {
#pragma unroll
    for (int i = 0; i < 64; ++i) a[i] = a[i] * a[(i + 1) % 64] + a[(i + 7) % 64];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 64; ++i) y[i * 1024 + threadIdx.x] = a[i];
}"""


@pytest.fixture(scope="module", autouse=True)
def _nvrtc() -> None:
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except (RuntimeError, ImportError) as error:
        pytest.skip(f"NVRTC is missing: {error}")


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, int], Future[dict[str, Resources]]]]:
    """What the selected tests need, compiled two at a time while they wait."""
    here = [item for item in request.session.items if item.path == request.path]
    items = [item for item in here if "compiled" in getattr(item, "fixturenames", ())]
    wanted = [item.callspec.params for item in items]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as pool:
        yield {
            (source.file, architecture): pool.submit(
                compile_for, source.code(), f"{source.file}.cu", architecture, kernels(source), OPTIONS
            )
            for source, architecture in ((parameters["source"], parameters["architecture"]) for parameters in wanted)
        }


def kernels(source: Source) -> list[str]:
    return [kernel for T in WIDTHS for kernel in source.instances(T)]


VARIANTS = [a if a in GENERATIONS else pytest.param(a, marks=pytest.mark.slow) for a in ARCHITECTURES]


@pytest.mark.parametrize("architecture", VARIANTS, ids="sm_{}".format)
@pytest.mark.parametrize("source", sources().values(), ids=lambda source: source.file)
def test_kernels_compile_without_spills(
    source: Source,
    architecture: int,
    compiled: dict[tuple[str, int], Future[dict[str, Resources]]],
    record_property: Callable[[str, object], None],
) -> None:
    found = compiled[source.file, architecture].result()
    assert list(found) == kernels(source)
    for kernel, used in found.items():
        record_property(f"{kernel} sm_{architecture}", f"{used.registers} registers")
    assert {kernel: used.spills for kernel, used in found.items() if used.spills} == {}
    assert max(used.registers for used in found.values()) <= 255


def test_the_gate_compiles_with_the_options_of_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CuPy hands to NVRTC for a module of ours, stopped before it compiles; CuPy writes the architecture in between."""
    compiler = importlib.import_module("cupy.cuda.compiler")
    handed: list[Sequence[str]] = []

    class StoppedError(Exception):
        pass

    def compile_nothing(_: object, options: Sequence[str], *__: object) -> None:
        handed.append(options)
        raise StoppedError

    monkeypatch.setattr(compiler, "_get_arch", lambda: "90")
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda arch: (f"-arch=sm_{arch}", "cubin"))
    monkeypatch.setattr(compiler, "_preprocess", lambda *_: "")
    monkeypatch.setattr(compiler._NVRTCProgram, "compile", compile_nothing)
    with pytest.raises(StoppedError):
        compiler._compile_module_with_cache("", options=OPTIONS, name_expressions=["kernel"])
    assert [option for option in handed[0] if not option.startswith("-arch")] == [*OPTIONS, *CUPYS_OPTIONS]
    assert "-arch=sm_90" in handed[0]


def test_the_gate_sees_a_spill() -> None:
    assert compile_for(SPILLING, "spilling.cu", 80, ["spilling"], OPTIONS)["spilling"].spills > 0


def test_the_gate_sees_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"broken\.cu\(1\): error"):
        compile_for("__global__ void broken(float* x) { x[0] = missing; }", "broken.cu", 80, ["broken"], OPTIONS)
