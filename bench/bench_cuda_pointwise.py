"""1x1 convolutions: this package's kernel against cuBLAS (through CuPy), for the shapes and batches the networks have.

pytest bench/bench_cuda_pointwise.py -m gpu    prints the table for kernels/cuda/pointwise_table.py

Forward times decide: the table sends a shape's gradients the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod

import numpy as np
import pytest
from bench_cuda_layers import layers
from conftest import Book, Row
from cuda_timing import Call, cupy_or_skip, fill_book, time_calls

from epcore.kernels.cuda import conv2d
from epcore.shapes import Shape

pytestmark = pytest.mark.gpu
BATCHES = (1, 5, 10, 16, 20, 64)  # inference, and the paper's training batches
MARGIN = 0.95  # cuBLAS has to be faster by 5 %


@pytest.fixture(scope="module")
def gpu(pytestconfig: pytest.Config) -> Iterator[Book]:
    yield from fill_book(pytestconfig)


@pytest.fixture(scope="module")
def faster(pytestconfig: pytest.Config) -> Iterator[set[tuple[int, int, int]]]:
    found: set[tuple[int, int, int]] = set()
    yield found
    cupy = cupy_or_skip()
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())["name"].decode()
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nFASTER_WITH_CUBLAS = {{\n    {name!r}: frozenset({sorted(found)}),\n}}")


def shapes() -> list[tuple[Shape, Shape]]:
    return sorted({(layer.x, layer.w) for layer in layers() if layer.op == "conv2d" and layer.w[:2] == (1, 1)})


@pytest.mark.parametrize(("x_shape", "w_shape"), shapes(), ids=lambda shape: "x".join(map(str, shape[1:])))
def bench_pointwise(x_shape: Shape, w_shape: Shape, gpu: Book, faster: set[tuple[int, int, int]]) -> None:
    cupy = cupy_or_skip()
    rng = cupy.random.default_rng(0)
    w = rng.standard_normal(w_shape, dtype=np.float32)
    for batch in BATCHES:
        if batch * prod(x_shape) > 2**29:
            continue
        x = rng.standard_normal((batch, *x_shape[1:]), dtype=np.float32)
        Cin, Cout = w_shape[2:]
        pixels = x.size // Cin
        flat, matrix = x.reshape(pixels, Cin), w[0, 0]
        contenders: dict[str, Call] = {
            "epcore": partial(conv2d.fused, x, w, None),
            "cuBLAS": partial(cupy.matmul, flat, matrix),
        }
        samples = time_calls(contenders, rounds=5, calls=10)
        ratio = samples["epcore"].median / samples["cuBLAS"].median
        if ratio > 1 / MARGIN:
            faster.add((pixels, Cin, Cout))
        case, flops, traffic = f"{pixels} x {Cin} -> {Cout}", 2 * pixels * Cin * Cout, 4 * (pixels * (Cin + Cout) + Cin * Cout)
        for name, sample in samples.items():
            shown = ratio if name == "epcore" else None
            gpu.add(Row("CUDA pointwise", case, name, sample.median * 1e3, sample.spread, flops, traffic, ratio=shown))
