"""Compiled kernels, kept between processes: one file a kernel, argument types, processor and version.

Numba's own cache has an index beside numbered files; two processes that save at once can leave an entry that points to the
other's machine code, and a damaged index is a traceback. Here a file's name is made from all that its machine code depends on
(`KernelCache.key`) and the key is in the file again, with a checksum: what is read is what was asked for, or it is compiled
anew. Files appear whole (written beside their place and moved there), so processes need no lock.

Numba notices when the file of a kernel changes, but not when a file it takes code from does: the shared files are part of the
key, so an upgrade can never run yesterday's `simd`.
"""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from epcore.base.notices import say_meanwhile
from epcore.kernels.cpu.cache_folders import Folders, folders, settle

HERE = Path(__file__).parent
# Files whose code is compiled into other files' kernels.
SHARED = (
    *(HERE / name for name in ("crew.py", "jit.py", "loops.py", "panels.py", "processor.py", "product.py", "reduction.py")),
    *sorted(HERE.glob("simd/*.py")),
)

_DIGEST = sha256(b"".join(path.read_bytes() for path in SHARED)).hexdigest()
_MAGIC = b"epcore kernel 1\n"
_CHECKSUM = sha256().digest_size
# Settings of Numba that change machine code and are not in its description of the processor.
_SETTINGS = ("OPT", "BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT")


def cached(function: Callable[..., Any], *, sources: Iterable[Path] = (), **options: Any) -> Any:
    """`numba.njit(**options)(function)`, compiled once for all processes. (Any: a Numba dispatcher, or the function itself
    where NUMBA_DISABLE_JIT is set.)

    sources: files whose code the function is given to hold, beside its own and the shared ones.
    """
    dispatcher = njit(**options)(function)
    dispatcher._cache = KernelCache(function, options, sources)  # what njit(cache=True) does, with our files
    return dispatcher


def is_kept(kernel: Any, sig: Any) -> bool:
    """Whether a kernel is compiled for these argument types, here or by an earlier process. kernel: as `cached` gives it."""
    return sig.args in kernel.overloads or kernel._cache.is_kept(sig, kernel.targetctx.codegen())


class KernelCache(FunctionCache):
    """Files of one kernel. options: those it is compiled with, part of the key: variants of a function may be kept together.
    sources: see `cached`.

    Numba calls `load_overload` and `save_overload` with its compiler lock held, so one thread at a time.
    """

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any], sources: Iterable[Path] = ()) -> None:
        # Not Numba's own, which looks for a folder that can be written and raises where there is none.
        self._py_func = function
        self._name = repr(function)
        self._options = tuple(sorted((name, repr(value)) for name, value in options.items()))
        self._source = Path(inspect.getfile(function))
        self._sources = (self._source, *sources)
        name = function.__qualname__.replace("<", "").replace(">", "")
        version = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
        self._prefix = f"{function.__module__.rpartition('.')[2]}.{name}.{version}."
        self.enable()

    @property
    def cache_path(self) -> str:
        return str(self._folders.lasting[0].path)

    @property
    def _folders(self) -> Folders:
        return folders(self._source.parent)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel for these argument types; None where there is no file of it that is whole and of this key."""
        target_context.refresh()
        if not self._enabled:
            return None
        settle(self._source.parent)
        key = self.key(sig, target_context.codegen())
        for data in self._folders.read(self.file_name(key)):
            if (kept := _unpack(key, data)) is not None:
                return CompileResult._rebuild(target_context, *kept)
        say_that_it_compiles()
        return None

    def is_kept(self, sig: Any, codegen: Any) -> bool:
        """Whether a file of this kernel for these argument types is where `load_overload` looks; it may be damaged."""
        settle(self._source.parent)
        return any(True for _ in self._folders.read(self.file_name(self.key(sig, codegen))))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel where the folders take it."""
        if not self._enabled:
            return
        if data.lifted or data.library.has_dynamic_globals:
            raise RuntimeError(f"{self._name} has parts that only this process can run: addresses, or large global arrays")
        key = self.key(sig, data.codegen)
        name = self.file_name(key)
        self._folders.write(name, _pack(key, data._reduce()), self._prefix, self._stamped())

    def flush(self) -> None:
        """Forget all that is kept of this kernel."""
        self._folders.remove(self._prefix)

    def key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """All that the machine code depends on: argument types, processor and its features, bytecode and closure, options,
        sources, versions and settings."""
        settings = tuple(repr(getattr(numba.config, name, None)) for name in _SETTINGS)
        versions = numba.__version__, llvmlite.__version__, sys.version_info[:2]
        code = self._py_func.__code__.co_code, tuple(_named(cell.cell_contents) for cell in self._py_func.__closure__ or ())
        return sig, codegen.magic_tuple(), code, self._options, self._digest(), versions, settings

    def file_name(self, key: tuple[Any, ...]) -> str:
        return f"{self._stamped()}{sha256(repr(key).encode()).hexdigest()[:40]}.nbc"

    def _stamped(self) -> str:
        """What names of files of this kernel and these sources start with: others are of no use any more."""
        return f"{self._prefix}{self._digest()[:8]}."

    def _digest(self) -> str:
        return sha256("".join([_DIGEST, *map(_stamp, self._sources)]).encode()).hexdigest()


@cache
def say_that_it_compiles() -> None:
    """Once a process."""
    say_meanwhile("epcore: compiling kernels for this processor; this takes up to a minute and is kept for later runs")


@cache
def _stamp(source: Path) -> str:
    return sha256(source.read_bytes()).hexdigest()


def _named(value: Any) -> Any:
    """What a closure holds, for the key: compiled functions by name (their code is in the sources), all else as it is."""
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None)
    if function is None:
        return repr(value)
    return function.__module__, function.__qualname__, *(_named(cell.cell_contents) for cell in function.__closure__ or ())


def _pack(key: tuple[Any, ...], kernel: Any) -> bytes:
    payload: bytes = dumps((key, kernel))
    return _MAGIC + sha256(payload).digest() + payload


def _unpack(key: tuple[Any, ...], data: bytes) -> Any:
    """What `_pack` was given, or None where the file is cut short, damaged, or of another key."""
    start = len(_MAGIC) + _CHECKSUM
    if data[: len(_MAGIC)] != _MAGIC or sha256(data[start:]).digest() != data[len(_MAGIC) : start]:
        return None
    try:
        found, kernel = pickle.loads(data[start:])
    except Exception:  # whole, but of classes that another version wrote: pickles raise anything
        return None
    return kernel if found == key else None
