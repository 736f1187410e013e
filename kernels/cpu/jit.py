"""How the CPU kernels are compiled and cached.

`@kernel` compiles at the first call and keeps the machine code beside the source (or in the user's cache folder), so a
new process only loads it. Numba notices when the file of a kernel changes, but not when a file it takes code from does;
here the shared files are part of the cache key, so an upgrade can never run yesterday's `simd`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

from epcore.kernels.cpu.launch import ParallelKernel

HERE = Path(__file__).parent
# Files whose code is compiled into other files' kernels.
SHARED = (
    *(HERE / name for name in ("jit.py", "processor.py", "product.py", "reduction.py", "simd.py")),
    *sorted(HERE.glob("fused/*.py")),
)

CHUNK = 8192  # elements a task of an elementwise kernel takes; a multiple of every LANES

_DIGEST = sha256(b"".join(path.read_bytes() for path in SHARED)).hexdigest()


class _KernelCache(FunctionCache):
    def _index_key(self, *args: Any) -> Any:
        return super()._index_key(*args), _DIGEST


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    dispatcher = njit(error_model="numpy", **options)(function)
    dispatcher._cache = _KernelCache(function)  # what njit(cache=True) does, with our key
    return dispatcher


def kernel(function: Callable[..., Any]) -> ParallelKernel:
    """Compile a function whose `prange` loops run on Numba's threads, `get_threads()` of them. Compiled code cannot call it."""
    return ParallelKernel(function, _compile)


def serial_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that runs on the calling thread only."""
    return _compile(function)


def released_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that lets other Python threads run meanwhile: the plans bring their own threads."""
    return _compile(function, nogil=True)


inlined = njit(error_model="numpy", forceinline=True)  # a part of kernels, cached with them
