"""MATLAB files (version 5): what one declares is compared with what it can hold, before SciPy reads anything of it.

The file is a row of elements, each with its type and its length. A compressed element holds another, whose length is known
after its first bytes; zlib makes nothing more than 1032 times smaller.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any, Literal

from scipy.io import loadmat

from epcore.base.guarded import Limits

# The published file has 12 MB, becomes a hundred times as much in Python objects and takes some ten seconds.
MAT_LIMITS = Limits(384 << 20, 128, 8, 5e-6)
_HEADER, _TAG = 128, 8
_COMPRESSED = 15
_ZLIB = 1032
_Order = Literal["little", "big"]


def load_mat(path: str | os.PathLike[str], names: list[str], **options: Any) -> dict[str, Any]:
    """Those of the variables that are there; options: of `scipy.io.loadmat`. Raises OSError, or ValueError naming the file."""
    _check_declared(path)
    try:
        content = loadmat(path, variable_names=names, **options)
    except Exception as error:  # the reader meets damaged bytes with whatever exception it runs into
        # A division by zero is nothing that it says of a file: what it divided by came from damaged bytes.
        what = "is damaged, and no readable" if isinstance(error, ArithmeticError) else "is not a readable"
        raise ValueError(f"{os.fspath(path)} {what} .mat file: {str(error) or type(error).__name__}") from None
    return {name: content[name] for name in names if name in content}


def _check_declared(path: str | os.PathLike[str]) -> None:
    """Raises OSError where the file cannot be read, ValueError where it declares more than it can hold or is no such file."""
    name, content = os.fspath(path), Path(path).read_bytes()
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI"):
        raise ValueError(f"{name} is not a readable .mat file: it is not one of MATLAB 5")
    order: _Order = "little" if content[126:128] == b"IM" else "big"
    version = int.from_bytes(content[124:126], order)
    if version != 0x0100:
        raise ValueError(f"{name} is not a readable .mat file: its version is {version:#06x}, expected 0x0100 (save with -v7)")
    place = _HEADER
    while place < len(content):
        kind, size = (int.from_bytes(content[place + i : place + i + 4], order) for i in (0, 4))
        place += _TAG
        held = len(content) - place
        if size > held:
            raise ValueError(f"{name} is not a readable .mat file: an element declares {size} bytes, but {held} are left")
        if kind == _COMPRESSED:
            inner = _inner_size(name, content[place : place + min(size, 1 << 16)], order)
            if inner > _ZLIB * size:
                raise ValueError(f"{name} is not a readable .mat file: an element declares {inner} bytes, compressed to {size}")
        place += size


def _inner_size(name: str, compressed: bytes, order: _Order) -> int:
    try:
        tag = zlib.decompressobj().decompress(compressed, _TAG)
    except zlib.error as error:
        raise ValueError(f"{name} is not a readable .mat file: {error}") from None
    return int.from_bytes(tag[4:8], order)
