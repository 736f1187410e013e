"""A student's file, run in a process of its own; what it prints is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from epcore.exercise.sandbox import LIMITS, Call, Limits, Run, run_calls


class Student:
    """file: the student's. limits: of time and memory, unless a check has its own. printed: by all runs so far."""

    def __init__(self, file: Path, limits: Limits = LIMITS) -> None:
        self.file, self.limits = file, limits
        self.printed = ""

    def run(self, calls: Sequence[Call], *, limits: Limits | None = None, driver: str | None = None) -> Run:
        """As `epcore.exercise.sandbox.run_calls`, of this file. Raises OSError where the process cannot be started."""
        run = run_calls(self.file, calls, limits=limits or self.limits, driver=driver)
        self.printed += run.printed
        return run
