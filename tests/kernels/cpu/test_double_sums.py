"""Vectors added up in double: each step is rounded as written, in the order of the vectors."""

from __future__ import annotations

import numpy as np
from numba import njit

from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd import add_in_double, add_products_in_double, load, load_block


@njit
def _add(x: np.ndarray, center: np.ndarray, y: np.ndarray, totals: np.ndarray, products: np.ndarray) -> None:
    add_in_double(totals, 1, load_block(x, 0, LANES, 3))
    add_products_in_double(products, 1, load_block(x, 0, LANES, 3), load(center, 0), load_block(y, 0, LANES, 3))


def test_sums_in_double(rng: np.random.Generator) -> None:
    x, y = (
        rng.standard_normal((3, LANES)).astype(np.float32) * np.float32(1e6) ** np.arange(3, dtype=np.float32)[:, None]
        for _ in range(2)
    )
    center = rng.standard_normal(LANES).astype(np.float32)
    totals, products = rng.standard_normal((2, LANES + 2))
    expected, expected_products = totals.copy(), products.copy()
    for a, b in zip(x.astype(float), y.astype(float), strict=True):
        expected[1:-1] += a
        expected_products[1:-1] += (a - center.astype(float)) * b
    _add(x.ravel(), center, y.ravel(), totals, products)
    np.testing.assert_array_equal(totals, expected)
    np.testing.assert_array_equal(products, expected_products)
