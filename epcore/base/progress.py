"""Progress on standard error where it is a terminal: bars, where the extra `progress` (tqdm) is installed, and a line that
says what is being looked at. Silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

from epcore.base.printable import printable

T = TypeVar("T")


def progress(items: Iterable[T], unit: str, *, total: int | None = None) -> Iterable[T]:
    """The items, counted by a bar. total: how many there are, where they do not know it themselves."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    return tqdm(items, unit=unit, total=total, disable=None, leave=False)


def progress_bar(total: int | None, initial: int, unit: str, *, hidden: bool = False) -> Any:
    """A bar to be moved by `update()`, with `set_postfix(...)` beside it; a context manager.

    unit: bytes, "B", are counted in thousands and millions. total: None where it is not known.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return _Silence()
    off = True if hidden else None  # None: where it is no terminal
    return tqdm(total=total, initial=initial, unit=unit, unit_scale=unit == "B", disable=off, dynamic_ncols=True)


def status_line(text: str) -> None:
    """What is going on, in place of what was said last; "" takes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{printable(text)}", end="", file=sys.stderr, flush=True)


class _Silence:
    def __enter__(self) -> _Silence:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def update(self, steps: int = 1) -> None:
        pass

    def set_postfix(self, **values: object) -> None:
        pass
