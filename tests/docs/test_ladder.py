"""docs/ladder.md is true: every step computes the operator, and the tables say what it costs now."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_on_host.devices import require_compiler
from places import DOCS

from epcore.ops import OPS

PAGE, LADDER = DOCS / "ladder.md", DOCS / "examples" / "ladder"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the documentation is not beside the tests")
sys.path.insert(0, str(LADDER))

import cpu_rungs  # noqa: E402
import cuda_rungs  # noqa: E402

EPS = float(np.finfo(np.float32).eps)
OP = OPS["depthwise_conv2d"]
Arrays = tuple[np.ndarray, ...]


def reference(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[Arrays, Arrays]:
    """(y, dw) in double, and how far float32 may be off: n products and additions in any order, (n + 2) eps sum |terms|."""
    results = []
    for arrays in ((x, w, dy), (abs(x), abs(w), abs(dy))):
        wide = [array.astype(np.float64) for array in arrays]
        y, saved = OP.forward(*wide[:2])
        results.append((y, OP.backward(wide[2], saved)[1]))
    terms = x.shape[0] * x.shape[1] * x.shape[2]
    return results[0], (11 * EPS * results[1][0], (terms + 2) * EPS * results[1][1])


@pytest.mark.parametrize("which", ["forward", "filter"])
def test_cuda_steps_are_right_and_counted(which: str) -> None:
    require_compiler()
    expected, bounds = reference(*cuda_rungs.arrays())
    rungs = {"forward": cuda_rungs.forward_rungs, "filter": cuda_rungs.filter_rungs}[which]()
    index = ["forward", "filter"].index(which)
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d .*%", line)][5 * index :][:5]
    assert len(rungs) == len(rows) == 5
    for rung, row in zip(rungs, rows, strict=True):
        counts, result, threads = cuda_rungs.climb(rung)
        assert (abs(result.reshape(expected[index].shape) - expected[index]) <= bounds[index]).all(), rung.name
        assert cuda_rungs.row(rung.name, counts, threads) == row


def test_instructions_of_the_forward_steps() -> None:
    """Within a tenth: NVRTC's versions differ."""
    pytest.importorskip("cupy", reason="CuPy is not installed: it brings NVRTC, which compiles the kernels (epcore[gate])")
    from cuda_on_host.sass import disassemble, disassembler

    if disassembler() is None:
        pytest.skip("nvdisasm is missing")
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith("| instructions |"))
    written = [float(text) for text in re.findall(r"[\d.]+", row)]
    found = []
    for rung in cuda_rungs.forward_rungs():
        code, kernel, *_ = rung.launches[0]
        text = SimpleNamespace(file=kernel, code=lambda code=code: code)
        found.append(disassemble(text, [kernel], 90)[kernel].per_element(9))
    assert found == pytest.approx(written, rel=0.1)


SHAPES = ((2, 7, 13, 24), (1, 1, 1, 16), (1, 3, 2, 16), (1, 5, 6, 20))


@pytest.mark.parametrize("rung", cpu_rungs.FORWARD, ids=lambda rung: rung.__name__)
def test_forward_on_the_processor(rung: Callable[..., None], rng: np.random.Generator) -> None:
    for shape in SHAPES:
        x, w, dy = (rng.standard_normal(s).astype(np.float32) for s in (shape, (3, 3, shape[3]), shape))
        y = np.full_like(x, np.nan)
        rung(x, w, y)
        expected, bounds = reference(x, w, dy)
        assert (abs(y - expected[0]) <= bounds[0]).all(), shape


@pytest.mark.parametrize("rung", cpu_rungs.FILTER, ids=lambda rung: rung.__name__)
def test_filter_on_the_processor(rung: Callable[..., None], rng: np.random.Generator) -> None:
    for shape in SHAPES:
        x, w, dy = (rng.standard_normal(s).astype(np.float32) for s in (shape, (3, 3, shape[3]), shape))
        dw = np.full_like(w, np.nan)
        rung(x, dy, dw)
        expected, bounds = reference(x, w, dy)
        assert (abs(dw - expected[1]) <= bounds[1]).all(), shape


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE.read_text())
    assert len(links) > 10
    assert not [link for link in links if not (DOCS / link).is_file()]
    linked = {link.rpartition("/")[2] for link in links if link.startswith("examples") and ".cu" in link}
    assert {path.name for path in LADDER.glob("*.cu")} == linked
