"""The benchmarks' plots show what was measured, however many groups there are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import BENCH

pytest.importorskip("matplotlib")


@pytest.fixture
def plots(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    import roofline

    yield roofline
    sys.modules.pop("roofline")


def row(group: str, flops: int, contender: str = "epcore") -> dict[str, Any]:
    return {"group": group, "contender": contender, "flops": flops, "bytes": 1000, "milliseconds": 0.1}


def test_every_group_with_operations_has_points(plots: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that state none, such as those of whole networks, come first in a session and take no colour away."""
    rows = [row(f"Growth {i}", 0) for i in range(12)] + [row(f"Kernel: {i}", 10 ** (3 + i % 3)) for i in range(14)]
    rows += [row("Kernel: 0", 5000), row("Kernel: peer", 1000, "PyTorch"), row("Kernel: rare", 1)]
    figures = []
    monkeypatch.setattr(plots.plt, "close", figures.append)
    plots.draw(rows, {"product": 4e11, "copy": 4e10}, tmp_path / "roofline.png")
    (axes,) = figures[0].axes
    assert [len(points.get_offsets()) for points in axes.collections] == [2] + [1] * 13
    assert np.allclose(axes.collections[1].get_offsets(), [[10, 0.1]])  # 10^4 operations on 1000 bytes in 0.1 ms
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == ["measured peaks", "0"]
    assert (tmp_path / "roofline.png").stat().st_size > 10_000
