"""What became of the kernels: instructions an output element, how they load, whether loads wait for one another. No GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("cupy", reason="CuPy is not installed: it brings NVRTC, which compiles the kernels (epcore[gate])")

from cuda_on_host.budgets import BUDGETS, measured
from cuda_on_host.compile_gate import GENERATIONS
from cuda_on_host.sass import Code, Loop, disassemble, disassembler

import epcore
from epcore.graph import Graph
from epcore.kernels.cuda import conv2d, loader
from epcore.kernels.cuda.loader import Source

pytestmark = pytest.mark.skipif(disassembler() is None, reason="nvdisasm is not installed (epcore[gate])")


@pytest.mark.parametrize("architecture", [a if a == 90 else pytest.param(a, marks=pytest.mark.slow) for a in GENERATIONS])
def test_kernels_keep_their_budgets(architecture: int) -> None:
    codes = dict(measured(architecture))
    assert list(codes) == list(BUDGETS)
    above = {budget.kernel: code.per_element(budget.taps) for budget, code in codes.items()}
    assert {b.kernel: above[b.kernel] for b in BUDGETS if above[b.kernel] > b.instructions} == {}
    for code in codes.values():
        assert code.count("LDL") == code.count("STL") == 0, code.kernel
        assert code.waits_in_turn() == 0, code.kernel
        if "<float,4," in code.kernel:
            assert code.count("LDG.E.128") == code.count("LDG") > 0, code.kernel


PLANTED = """
extern "C" __global__ void in_turn(const float* x, float* y, int n) {
  __shared__ float staged[1024];
  for (int e = threadIdx.x; e < n; e += 128) staged[e] = x[e];
  __syncthreads();
  float sum = 0;
  for (int e = 0; e < n; ++e) sum = sum * staged[e] + y[e];
  y[threadIdx.x] = sum;
}
extern "C" __global__ void kept_in_memory(const float* x, float* y, int n) {
  float a[64];
  for (int i = 0; i < 64; ++i) a[i] = x[i];
  for (int i = 0; i < n; ++i) a[(i * 7) % 64] += a[i % 64] * 2;
  y[0] = a[n];
}"""


class Planted(Source):
    def code(self) -> str:
        return PLANTED


@pytest.fixture(scope="module")
def codes() -> dict[str, Code]:
    return disassemble(Planted("planted", ()), ["in_turn", "kept_in_memory"], 90)


class TestTheGateSees:
    def test_loads_that_wait_in_turn(self, codes: dict[str, Code]) -> None:
        assert codes["in_turn"].waits_in_turn() >= 1
        assert codes["kept_in_memory"].waits_in_turn() == 0

    def test_local_memory(self, codes: dict[str, Code]) -> None:
        assert codes["kept_in_memory"].count("LDL") > 0
        assert codes["in_turn"].count("LDL") == 0

    def test_loads_of_single_values(self, codes: dict[str, Code]) -> None:
        assert codes["in_turn"].count("LDG") > codes["in_turn"].count("LDG.E.128")

    def test_loops(self) -> None:
        lines = ("LDG R0", "FFMA R1", "FFMA R1", "@P0 BRA `(.L_1)", "FFMA2 R2", "@!PT FFMA.FTZ R3", "BRA `(.L_0)")
        code = Code("planted", lines, (Loop(1, 3), Loop(0, 6)))
        assert (code.multiply_adds(), code.multiply_adds(Loop(1, 3))) == (5, 2)
        assert code.hottest == Loop(1, 3)
        assert code.per_element(1) == 3 / 2


class Recorder:
    """In the place of a compiled source: nothing runs, every launch is noted."""

    launches: ClassVar[list[tuple[str, tuple[int, ...]]]] = []

    def get_function(self, kernel: str) -> Callable[..., None]:
        return lambda grid, block, values, **_: self.launches.append((kernel, grid))


def products(graph: Graph, side: int, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """x, w, dy of every 1x1 convolution; memory that nobody reads."""
    shapes = graph.shapes(batch, (side, side, 3))
    for node in graph.nodes.values():
        if node.op == "conv2d" and node.attributes.get("stride", 1) == 1:
            w = graph.parameters[str(node.parameters[0])].shape
            if w[:2] == (1, 1):
                yield tuple(np.empty(shape, np.float32) for shape in (shapes[node.inputs[0]], w, shapes[node.name]))


@pytest.mark.parametrize("variant", ["RT", "I", "II", "III", "IV"])
def test_products_throw_little_away(variant: str) -> None:
    """Forward and both gradients of a training step: of all multiply-adds computed, nine tenths belong to the result."""
    tiles = {tile.name: tile for tile in (*conv2d.TILES, conv2d.SMALL)}
    model = epcore.EfficientPose(variant)
    useful = computed = 0
    with loader.use_compiler(lambda *_: Recorder()):
        for x, w, dy in products(model.graph, model.resolution, 20):
            Recorder.launches.clear()
            conv2d.fused(x, w, None)
            conv2d.backward(dy, (x, w, False))
            for kernel, grid in Recorder.launches:
                if "pointwise" in kernel:
                    tile = tiles[re.findall(r"[A-Z]\w+", kernel)[-1]]
                    sums = x.size // x.shape[3] if "filter" in kernel else w.shape[3 if "data" in kernel else 2]
                    computed += grid[0] * tile.pixels * grid[1] * tile.channels * (-(-sums // conv2d.STEP) * conv2d.STEP)
            useful += 3 * dy.size * w.shape[2]
    assert 0.9 <= useful / computed <= 1
