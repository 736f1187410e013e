"""What a command gives: `epcore.commands.console` prints and writes it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import IO

Content = str | bytes | Callable[[IO[bytes]], object]  # of a file; a function writes it itself


@dataclass(frozen=True)
class Result:
    """text: what a person reads, without the last line's end. report: what `--json` writes. code: of the process, 0 done, 1 a
    check failed. files: further outputs by the path that was named on the command line; also that of `--json`, where a
    command writes it itself.
    """

    text: str = ""
    report: object = None
    code: int = 0
    files: Mapping[str, Content] = field(default_factory=dict)


# Commands that take long yield what they have to say as they go, and return the result: `return Result(...)` behind the yields.
Outcome = Result | Generator[str, None, Result]
