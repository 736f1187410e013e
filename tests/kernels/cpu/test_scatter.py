"""Products spread over a larger map: every remainder of kernel by stride, odd sizes, few and many channels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.scatter import scatter_products


def by_definition(x: np.ndarray, w: np.ndarray, stride: int, start: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The sum of the module's docstring, term by term, in double."""
    y = np.zeros((len(x), *size, w.shape[3]))
    for i, j, u, v in product(range(x.shape[1]), range(x.shape[2]), range(w.shape[0]), range(w.shape[1])):
        h, k = i * stride + u - start[0], j * stride + v - start[1]
        if 0 <= h < size[0] and 0 <= k < size[1]:
            y[:, h, k] += x[:, i, j].astype(float) @ w[u, v].astype(float)
    return y


@pytest.mark.parametrize("channels", [3, LANES, LANES + 5])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 2), ((4, 4), 2), ((5, 3), 2), ((1, 2), 2), ((2, 5), 3), ((3, 3), 1)])
def test_scatter_products(rng: np.random.Generator, kernel: tuple[int, int], stride: int, channels: int) -> None:
    x = rng.standard_normal((2, 3, 5, 7), np.float32)
    w = rng.standard_normal((*kernel, 7, channels), np.float32)
    start = tuple((k - 1) // 2 for k in kernel)
    for size in ((3 * stride, 5 * stride), (3 * stride - stride // 2, 5 * stride - stride // 2)):
        y = scatter_products(x, w, stride, start, size)
        expected = by_definition(x, w, stride, start, size)
        magnitude = by_definition(abs(x), abs(w), stride, start, size)
        terms = 7 * kernel[0] * kernel[1]
        assert y.shape == expected.shape
        assert np.all(abs(y - expected) <= terms * np.finfo(np.float32).eps * magnitude)
