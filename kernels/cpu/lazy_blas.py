"""Numba without SciPy, until some kernel multiplies matrices by BLAS; none of epcore's does.

Numba's module of array functions asks, when it is imported, whether SciPy's BLAS is there, and finds out by importing all of
`scipy.linalg`: a tenth of the time that `epcore predict` takes for one picture. What uses BLAS asks again when it is compiled
(`numba.np.linalg`), so here the first answer is yes (epcore requires SciPy) and the import is left to who needs it.
"""

from __future__ import annotations

import sys

import numba.np.linalg as linalg

if "numba.np.arraymath" not in sys.modules and hasattr(linalg, "ensure_blas"):
    _ensure_blas = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = _ensure_blas
