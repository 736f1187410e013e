"""What the GPU benchmarks share: timing by events, the limits of the GPU, the table they fill.

Contenders take turns in one run, so that clocks and temperature hit all of them alike. Every round times several calls between
two events, on tensors that exceed the L2 cache.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import Book
from measure import Sample

from epcore.kernels.cuda.loader import require_cupy

LARGE = 256 << 20  # bytes of a tensor large enough that only bandwidth counts
Call = Callable[[], Any]


def cupy_or_skip() -> Any:
    """CuPy, or a skip that says what is missing."""
    try:
        return require_cupy()
    except RuntimeError as error:
        pytest.skip(str(error))


def torch_or_none() -> Any:
    """PyTorch if it sees the GPU too; its figures are left out where it does not."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.backends.cudnn.benchmark = True  # cuDNN may try all its algorithms first
    torch.backends.cuda.matmul.allow_tf32 = False  # float32 against float32
    torch.backends.cudnn.allow_tf32 = False
    return torch


def time_calls(contenders: Mapping[str, Call], *, rounds: int = 10, calls: int = 5) -> dict[str, Sample]:
    """Seconds a call of every contender, `rounds` values each. The first three calls of each are not timed."""
    cupy = require_cupy()
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        for _ in range(3):
            call()
    for _ in range(rounds):
        for name, call in contenders.items():
            start.record()
            for _ in range(calls):
                call()
            stop.record()
            stop.synchronize()
            seconds[name].append(cupy.cuda.get_elapsed_time(start, stop) / 1e3 / calls)
    return {name: Sample(tuple(values)) for name, values in seconds.items()}


def copy_bandwidth() -> float:
    """Bytes/s read plus written by a device-to-device copy of LARGE bytes."""
    cupy = require_cupy()
    a = cupy.ones(LARGE // 4, cupy.float32)
    b = cupy.empty_like(a)
    sample = time_calls({"copy": lambda: cupy.copyto(b, a)})["copy"]
    return 2 * a.nbytes / min(sample.seconds)


def product_peak() -> float:
    """FLOP/s of a large float32 matrix product by cuBLAS, without TF32."""
    cupy = require_cupy()
    size = 8192
    a = cupy.ones((size, size), cupy.float32)
    out = cupy.empty_like(a)
    sample = time_calls({"product": lambda: cupy.matmul(a, a, out=out)}, rounds=5, calls=1)["product"]
    return 2 * size**3 / min(sample.seconds)


def fill_book(config: pytest.Config) -> Iterator[Book]:
    """A book with this GPU's peaks; at the end printed and written to cuda.json and cuda.md in the output folder."""
    cupy = cupy_or_skip()
    book = Book()
    book.peaks = {"product": product_peak(), "copy": copy_bandwidth()}
    yield book
    if not book.rows:
        return
    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    torch = torch_or_none()
    facts = {"device": device, "cupy": cupy.__version__, "cuda": cupy.cuda.runtime.runtimeGetVersion()}
    if torch is not None:
        facts |= {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    folder = Path(config.getoption("--bench-output"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cuda.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []  # one file for all of bench_cuda_*.py
    rows = [asdict(row) for row in book.rows]
    replaced = {row["group"] for row in rows}
    kept = [row for row in earlier if row["group"] not in replaced]
    path.write_text(json.dumps({"machine": facts, "peaks": book.peaks, "rows": kept + rows}, indent=1))
    peaks = f"copy {book.peaks['copy'] / 1e9:.0f} GB/s, float32 product {book.peaks['product'] / 1e9:.0f} GFLOP/s"
    text = f"{', '.join(f'{key} {value}' for key, value in facts.items())}. Measured peaks: {peaks}.\n\n{book.markdown()}\n"
    (folder / f"cuda-{'-'.join(sorted(replaced)).lower().replace(' ', '_')[:60]}.md").write_text(text)
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{text}")
