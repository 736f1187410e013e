"""What a process says and imports when it meets its first kernel."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from epcore.base.notices import as_lines, say_meanwhile


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_command_line_at_a_terminal_says_what_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((Terminal(), "compiling\n"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        say_meanwhile("in a library")
        with as_lines():
            say_meanwhile("compiling")
        say_meanwhile("in a library")
        assert stream.getvalue() == expected


COMPILING = """
import io, sys
class Terminal(io.StringIO):
    def isatty(self): return True
import numpy as np
from epcore.base.notices import as_lines
from epcore.kernels.cpu import relu
sys.stderr = terminal = Terminal()
with as_lines():
    relu.forward(np.ones((1, 4, 4, 8), np.float32))
print(terminal.getvalue().count("compiling kernels"))
"""


def test_it_is_said_once_where_nothing_is_kept_and_not_where_it_is(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILING]
    for expected in ("1", "0"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


BLAS = """
import sys
import numpy as np
import epcore.kernels.cpu.jit
from numba import njit
assert "scipy.linalg" not in sys.modules
@njit
def products(a, b):
    return np.dot(a, b), np.convolve(a[0], b[0])
a, b = np.random.default_rng(0).random((2, 5, 5))
product, convolved = products(a, b)
np.testing.assert_allclose(product, a @ b, rtol=1e-14)
np.testing.assert_allclose(convolved, np.convolve(a[0], b[0]), rtol=1e-14)
assert "scipy.linalg" in sys.modules
"""


def test_who_multiplies_by_blas_still_can() -> None:
    subprocess.run([sys.executable, "-c", BLAS], check=True)
